"""`switch`: where the flow goes next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from typing_extensions import override

from zigflow_worker.compilation import Compiler, CompileScope, TaskKind
from zigflow_worker.definition import Node, Reader, TaskDefinition
from zigflow_worker.expressions import JSON
from zigflow_worker.program.formulas import Formula
from zigflow_worker.program.model import Frame, InlineOperation, Operation, Run

_LIKE = "[{large: {when: .count > 10, then: end}}]"


@dataclass(frozen=True, slots=True)
class CaseDefinition:
    """One case; the default has no condition."""

    when: Node | None
    then: Node | None
    """None: it cannot be read because of a mistake."""


class SwitchTask(TaskKind[tuple[CaseDefinition, ...]]):
    """Takes the first case whose condition holds."""

    keyword = "switch"
    keys = ("switch",)
    required = ("switch",)

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> tuple[CaseDefinition, ...]:
        cases = []
        defaults = 0
        for _, node in fields["switch"].named_items(_LIKE):
            with reader.part():
                case = node.fields("when", "then", required=["then"])
                then, when = reader.directive(case["then"]), case.get("when")
                cases.append(CaseDefinition(reader.expression(when), then))
                defaults += when is None
                if defaults > 1 and when is None:
                    raise node.error("a switch has only one case without 'when', its default")
        if not fields["switch"].items():
            raise fields["switch"].error("expected at least one case")
        return tuple(cases)

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, scope: CompileScope) -> Operation:
        cases = [
            (compiler.optional(case.when, scope), compiler.target(case.then, scope))
            for case in task.details
        ]
        return SwitchOperation(sorted(cases, key=lambda case: case[0] is None))


class SwitchOperation(InlineOperation):
    """The output is the input. Without a matching case the task's own `then` holds."""

    def __init__(self, cases: list[tuple[Formula | None, int]]) -> None:
        self._cases = tuple(cases)

    @override
    def evaluate(self, run: Run, frame: Frame) -> JSON:
        for condition, target in self._cases:
            if condition is None or run.truth(condition, frame, frame.input):
                frame.target = target
                break
        return frame.input
