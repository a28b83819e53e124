"""Finding the kind of a task, also among kinds that share a keyword."""

from __future__ import annotations

from typing import Any

import pytest

from zigflow_worker.compilation import TaskKind
from zigflow_worker.definition import Node, NodeError
from zigflow_worker.program.model import Operation
from zigflow_worker.tasks.do_task import DoTask
from zigflow_worker.tasks.for_task import ForTask
from zigflow_worker.tasks.registry import TaskRegistry


class FoundKind(TaskKind[Any]):
    """A kind that is only found."""

    keys = required = ()

    def read(self, *arguments: Any) -> Any:
        raise NotImplementedError

    def compile(self, *arguments: Any) -> Operation:
        raise NotImplementedError


class HttpCall(FoundKind):
    keyword, variant = "call", "http"


class FunctionCall(FoundKind):
    keyword = "call"


class ScriptRun(FoundKind):
    keyword, variant = "run", "script"

    def variant_of(self, value: Node) -> str:
        (name,) = value.mapping()
        return name


KINDS = TaskRegistry(DoTask(), ForTask(), FunctionCall(), HttpCall(), ScriptRun())


def found(value: Any, kinds: TaskRegistry = KINDS) -> type[TaskKind[Any]]:
    task = Node(value, "")
    return type(kinds.kind_of(task, task.mapping()))


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ({"do": []}, DoTask),
        ({"for": {}, "do": []}, ForTask),
        ({"call": "http"}, HttpCall),
        ({"call": "my-function"}, FunctionCall),
        ({"run": {"script": {}}}, ScriptRun),
    ],
)
def test_kinds_are_found_by_keyword_and_variant(task: Any, kind: type[TaskKind[Any]]) -> None:
    assert found(task) is kind


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"run": {"shell": {}}}, "task kind 'run: shell' is not supported"),
        ({"emit": {}}, "task kind 'emit' is not supported"),
        ({"for": {}, "do": [], "set": {}}, "not both 'for' and 'set'"),
        ({"emit": {}, "do": []}, "not both 'emit' and 'do'"),
    ],
)
def test_other_tasks_are_refused(task: Any, message: str) -> None:
    with pytest.raises(NodeError, match=message):
        found(task)


def test_without_a_fallback_other_variants_are_refused() -> None:
    with pytest.raises(NodeError, match="task kind 'call: grpc' is not supported"):
        found({"call": "grpc"}, TaskRegistry(HttpCall()))
