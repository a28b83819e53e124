"""`raise`: an error on purpose."""

from collections.abc import Mapping
from typing import NoReturn

from typing_extensions import override

from zigflow_worker.compilation import Compiler, Place
from zigflow_worker.definition import Node, Reader, TaskDefinition
from zigflow_worker.definition.model import ErrorDefinition
from zigflow_worker.errors import ErrorType, WorkflowError
from zigflow_worker.execution.frames import Frame
from zigflow_worker.execution.interpreter import Interpreter
from zigflow_worker.expressions import JSON
from zigflow_worker.program import Formula, InlineOperation, Operation
from zigflow_worker.tasks.kind import TaskKind


class RaiseTask(TaskKind[ErrorDefinition | Node]):
    """Raises an error given inline or by name."""

    keyword = "raise"
    keys = ("raise",)
    required = ("raise",)

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> ErrorDefinition | Node:
        """Read the error or its name."""
        error = fields["raise"].fields("error", required=["error"])["error"]
        if isinstance(error.value, str):
            error.text()
            return error
        return reader.error(error)

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, place: Place) -> Operation:
        """Compile the parts of the error, each literal or expression."""
        error = compiler.error(task.details)
        parts = {
            "type": error.type,
            "status": error.status,
            "title": error.title,
            "detail": error.detail,
            "instance": error.instance,
        }
        return RaiseOperation(
            {name: compiler.template(part, place) for name, part in parts.items() if part}
        )


class RaiseOperation(InlineOperation):
    """Without an instance of its own, the error names the task."""

    def __init__(self, parts: Mapping[str, Formula]) -> None:
        self._parts = parts

    @override
    def evaluate(self, run: Interpreter, frame: Frame) -> NoReturn:
        """Raise."""
        problem: dict[str, JSON] = {}
        for name, part in self._parts.items():
            value = run.value(part, frame, frame.input)
            if value is not None:
                problem[name] = value
        _check(problem)
        raise WorkflowError(problem)


def _check(problem: Mapping[str, JSON]) -> None:
    status = problem.get("status")
    if not isinstance(status, int) or isinstance(status, bool):
        raise WorkflowError.of(ErrorType.EXPRESSION, "the status of an error must be an integer")
    for name, value in problem.items():
        if name != "status" and not isinstance(value, str):
            raise WorkflowError.of(ErrorType.EXPRESSION, f"the {name} of an error must be a string")
    if "type" not in problem:
        raise WorkflowError.of(ErrorType.EXPRESSION, "the type of an error must be a string")
