"""`emit`: an event, as CloudEvents describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from zigflow_worker.compilation import Compiler, CompileScope, TaskKind
from zigflow_worker.definition import Node, Reader, TaskDefinition
from zigflow_worker.errors import EXPRESSION, WorkflowError
from zigflow_worker.expressions import JSON, is_expression
from zigflow_worker.program.formulas import Formula
from zigflow_worker.program.model import Frame, InlineOperation, Operation, Run
from zigflow_worker.tasks import cloud_events

_LIKE_EVENT = "{with: {type: com.example.done, data: …}}"
_LIKE = f"{{event: {_LIKE_EVENT}}}"


class EmitTask(TaskKind[Node]):
    """Makes an event of attributes and data with expressions in them."""

    keyword = "emit"
    keys = ("emit",)
    required = ("emit",)

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> Node:
        event = fields["emit"].fields("event", required=["event"], like=_LIKE, inside="event")[
            "event"
        ]
        attributes = event.fields("with", required=["with"], like=_LIKE_EVENT, inside="with")[
            "with"
        ]
        parts = attributes.mapping()
        with reader.part():
            if "type" not in parts:
                raise attributes.error("'type' is required")
        for name, part in parts.items():
            problem = cloud_events.name_problem(name)
            if problem is None and not is_expression(part.value):
                problem = cloud_events.attribute_problem(name, part.value)
            with reader.part():
                if problem is not None:
                    raise part.error(problem)
        return attributes

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, scope: CompileScope) -> Operation:
        return EmitOperation(compiler.template(task.details, scope), compiler.document_path)


class EmitOperation(InlineOperation):
    """The output is the event. It has an id, a source and a time, also where none is given."""

    def __init__(self, attributes: Formula, source: str) -> None:
        self._attributes = attributes
        self._source = source

    @override
    def evaluate(self, run: Run, frame: Frame) -> JSON:
        attributes: Any = run.value(self._attributes, frame, frame.input)
        defaults = {
            "id": run.unique_id(),
            "source": self._source,
            "time": cloud_events.rfc3339(run.now),
        }
        event = cloud_events.new_event(attributes, defaults)
        for name in ("type", *event):
            problem = cloud_events.attribute_problem(name, event.get(name))
            if problem is not None:
                raise WorkflowError.of(EXPRESSION, problem)
        return event
