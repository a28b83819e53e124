"""Which kinds of tasks there are."""

from collections.abc import Mapping
from typing import Any

from zigflow_worker.definition import Node
from zigflow_worker.tasks.agent_call import AgentCall
from zigflow_worker.tasks.do_task import DoTask
from zigflow_worker.tasks.for_task import ForTask
from zigflow_worker.tasks.fork_task import ForkTask
from zigflow_worker.tasks.kind import TaskKind
from zigflow_worker.tasks.raise_task import RaiseTask
from zigflow_worker.tasks.set_task import SetTask
from zigflow_worker.tasks.switch_task import SwitchTask
from zigflow_worker.tasks.try_task import TryTask
from zigflow_worker.tasks.wait_task import WaitTask

# In the order in which they are looked for: a `for` task has a `do` too.
_KEYWORDS = (
    *("for", "fork", "try", "switch", "set", "raise", "wait", "call"),
    *("emit", "listen", "run", "do"),
)


class TaskRegistry:
    """Finds the kind of a task."""

    def __init__(self, *kinds: TaskKind[Any]) -> None:
        self._kinds = {(kind.keyword, kind.value): kind for kind in kinds}

    def kind_of(self, task: Node, fields: Mapping[str, Node]) -> TaskKind[Any]:
        """Return the kind of a task (raises NodeError)."""
        found = [keyword for keyword in _KEYWORDS if keyword in fields]
        if found[1:] == ["do"] and found[0] == "for":
            found = ["for"]
        if not found:
            raise task.error(f"expected a task: one of {', '.join(sorted(_KEYWORDS))}")
        if len(found) > 1:
            raise task.error(f"a task is of one kind, not both '{found[0]}' and '{found[1]}'")
        keyword = found[0]
        kind = self._kinds.get((keyword, None))
        if kind is not None:
            return kind
        if keyword != "call":
            raise fields[keyword].error(f"task kind '{keyword}' is not supported in this release")
        called = fields["call"].text()
        kind = self._kinds.get(("call", called))
        if kind is None:
            raise fields["call"].error(
                f"task kind 'call: {called}' is not supported in this release"
            )
        return kind


REGISTRY = TaskRegistry(
    AgentCall(),
    DoTask(),
    ForTask(),
    ForkTask(),
    RaiseTask(),
    SetTask(),
    SwitchTask(),
    TryTask(),
    WaitTask(),
)
