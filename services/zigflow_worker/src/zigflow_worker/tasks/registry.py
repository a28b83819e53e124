"""The kinds of tasks there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from typing_extensions import override

from zigflow_worker.compilation import CompilableKinds, TaskKind
from zigflow_worker.definition import COMMON_KEYS, Node, NodeError
from zigflow_worker.tasks.agent_call import AgentCall
from zigflow_worker.tasks.do_task import DoTask
from zigflow_worker.tasks.emit_task import EmitTask
from zigflow_worker.tasks.for_task import ForTask
from zigflow_worker.tasks.fork_task import ForkTask
from zigflow_worker.tasks.function_call import FunctionCall
from zigflow_worker.tasks.grpc_call import GrpcCallTask
from zigflow_worker.tasks.http_call import HttpCallTask
from zigflow_worker.tasks.openapi_call import OpenApiCallTask
from zigflow_worker.tasks.raise_task import RaiseTask
from zigflow_worker.tasks.set_task import SetTask
from zigflow_worker.tasks.switch_task import SwitchTask
from zigflow_worker.tasks.try_task import TryTask
from zigflow_worker.tasks.wait_task import WaitTask

# Keywords of the language, with a kind or not yet, in the order in which errors name them.
_KEYWORDS = (
    *("for", "fork", "try", "switch", "set", "raise", "wait", "call"),
    *("emit", "listen", "run", "do"),
)


class TaskRegistry(CompilableKinds):
    """Finds the kind of a task by its keyword and, where kinds share one, by the variant."""

    def __init__(self, *kinds: TaskKind[Any]) -> None:
        self._variants: dict[str, dict[str | None, TaskKind[Any]]] = {}
        for kind in kinds:
            self._variants.setdefault(kind.keyword, {})[kind.variant] = kind

    @override
    def kind_of(self, task: Node, fields: Mapping[str, Node]) -> TaskKind[Any]:
        keyword = self._keyword_of(task, fields)
        value = fields[keyword]
        variants = self._variants.get(keyword, {})
        variant = next((kind.variant_of(value) for kind in variants.values() if kind.variant), None)
        kind = variants.get(variant) or variants.get(None)
        if kind is None:
            name = keyword if variant is None else f"{keyword}: {variant}"
            raise value.error(f"task kind '{name}' is not supported in this release")
        return kind

    def _keyword_of(self, task: Node, fields: Mapping[str, Node]) -> str:
        found = [keyword for keyword in _KEYWORDS if keyword in fields]
        if not found:
            raise self._unknown_kind(task, fields)
        carried = {key for keyword in found for key in self._carried_by(keyword)}
        found = [keyword for keyword in found if keyword not in carried]
        if len(found) > 1:
            raise task.error(f"a task is of one kind, not both '{found[0]}' and '{found[1]}'")
        return found[0]

    def _unknown_kind(self, task: Node, fields: Mapping[str, Node]) -> NodeError:
        known = sorted(self._variants)
        message = f"expected a task: one of {', '.join(known)}"
        others = [key for key in fields if key not in COMMON_KEYS]
        if not others:
            return task.error(message)
        return NodeError(
            f"{message}; '{others[0]}' is none", task.pointer, word=others[0], known=known
        )

    def _carried_by(self, keyword: str) -> Iterator[str]:
        for kind in self._variants.get(keyword, {}).values():
            yield from kind.carries


TASK_KINDS = TaskRegistry(
    AgentCall(),
    DoTask(),
    EmitTask(),
    ForTask(),
    ForkTask(),
    GrpcCallTask(),
    HttpCallTask(),
    FunctionCall(),
    OpenApiCallTask(),
    RaiseTask(),
    SetTask(),
    SwitchTask(),
    TryTask(),
    WaitTask(),
)
