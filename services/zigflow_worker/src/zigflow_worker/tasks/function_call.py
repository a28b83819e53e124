"""`call: NAME`: a function of the document, in its own name and with its own data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from typing_extensions import override

from zigflow_worker.compilation import Compiler, CompileScope, TaskKind
from zigflow_worker.definition import Node, Reader, TaskDefinition
from zigflow_worker.definition.functions import CALLS_OF_THE_LANGUAGE, is_function_name
from zigflow_worker.errors import WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.program.formulas import Formula
from zigflow_worker.program.model import Block, Branch, Frame, Operation, Run

_MAX_DETAIL = 2_000
"""Characters of an error's detail up to which places are added to it."""


@dataclass(frozen=True, slots=True)
class FunctionCallDefinition:
    """The call of a function; `arguments` may have expressions."""

    name: Node
    arguments: Node | None


class FunctionCall(TaskKind[FunctionCallDefinition]):
    """Runs a task of `use.functions` on the arguments."""

    keyword = "call"
    keys = ("call", "with")
    required = ("call",)

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> FunctionCallDefinition:
        name = fields["call"]
        if name.text() in CALLS_OF_THE_LANGUAGE:
            raise name.error(f"task kind 'call: {name.value}' is not supported in this release")
        if not is_function_name(name.text()):
            raise name.error("functions of catalogs are not supported in this release")
        if "with" in fields:
            with reader.part():
                fields["with"].mapping()
        return FunctionCallDefinition(name, fields.get("with"))

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, scope: CompileScope) -> Operation:
        definition: FunctionCallDefinition = task.details
        arguments = definition.arguments
        return FunctionOperation(
            compiler.function(definition.name, scope),
            None if arguments is None else compiler.template(arguments, scope),
        )


class FunctionOperation(Operation):
    """The output is the function's. Without arguments, its input is the task's."""

    def __init__(self, block: Block, arguments: Formula | None) -> None:
        self._block = block
        self._arguments = arguments

    @override
    def enter(self, run: Run, branch: Branch, frame: Frame) -> None:
        data = frame.input
        if self._arguments is not None:
            data = run.value(self._arguments, frame, data)
        frame.begin_block(self._block, data)

    @override
    def proceed(self, run: Run, branch: Branch, frame: Frame) -> None:
        run.complete(branch, frame, frame.data)

    @override
    def catch(self, run: Run, branch: Branch, frame: Frame, problem: Mapping[str, JSON]) -> bool:
        place = problem.get("instance")
        if not isinstance(place, str) or not f"{place}/".startswith(f"{self._block.pointer}/"):
            return False
        detail = f"{problem['detail']} ({place})" if "detail" in problem else place
        if len(detail) > _MAX_DETAIL:  # of many functions inside each other, the innermost count
            detail = str(problem.get("detail", ""))
        raise WorkflowError({**problem, "instance": frame.step.pointer, "detail": detail})
