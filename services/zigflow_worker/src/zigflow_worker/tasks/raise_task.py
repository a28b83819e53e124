"""`raise`: an error on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from typing_extensions import override

from zigflow_worker.changes import WHOLE_FLOATS
from zigflow_worker.compilation import Compiler, CompileScope, TaskKind
from zigflow_worker.definition import ErrorDefinition, Node, Reader, TaskDefinition
from zigflow_worker.errors import EXPRESSION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.program.formulas import Formula
from zigflow_worker.program.model import Frame, InlineOperation, Operation, Run

_LIKE = "{error: {type: https://example.com/errors/not-found, status: 404}}"


class RaiseTask(TaskKind[ErrorDefinition | Node]):
    """Raises an error given inline or by name."""

    keyword = "raise"
    keys = ("raise",)
    required = ("raise",)

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> ErrorDefinition | Node:
        error = fields["raise"].fields("error", required=["error"], like=_LIKE, inside="error")[
            "error"
        ]
        if isinstance(error.value, str):
            error.text()
            return error
        return reader.error(error)

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, scope: CompileScope) -> Operation:
        error: ErrorDefinition = compiler.error(task.details)
        parts = {
            "type": error.type,
            "status": error.status,
            "title": error.title,
            "detail": error.detail,
            "instance": error.instance,
        }
        return RaiseOperation(
            {name: compiler.template(part, scope) for name, part in parts.items() if part}
        )


class RaiseOperation(InlineOperation):
    """Without an instance of its own, the error names the task."""

    def __init__(self, parts: Mapping[str, Formula]) -> None:
        self._parts = parts

    @override
    def evaluate(self, run: Run, frame: Frame) -> NoReturn:
        problem: dict[str, JSON] = {}
        for name, part in self._parts.items():
            value = run.value(part, frame, frame.input)
            if value is not None:
                problem[name] = value
        status = problem.get("status")
        if isinstance(status, float) and status.is_integer() and run.patched(WHOLE_FLOATS):
            problem["status"] = int(status)
        _check(problem)
        raise WorkflowError(problem)


def _check(problem: Mapping[str, JSON]) -> None:
    status = problem.get("status")
    if not isinstance(status, int) or isinstance(status, bool):
        raise WorkflowError.of(EXPRESSION, "the status of an error must be an integer")
    for name, value in problem.items():
        if name != "status" and not isinstance(value, str):
            raise WorkflowError.of(EXPRESSION, f"the {name} of an error must be a string")
    if "type" not in problem:
        raise WorkflowError.of(EXPRESSION, "the type of an error must be a string")
