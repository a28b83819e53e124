"""The data of a run: variables of expressions, and rules before and after a task."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from zigflow_worker.changes import WHOLE_FLOATS
from zigflow_worker.durations import seconds_of
from zigflow_worker.errors import EXPRESSION, VALIDATION, WorkflowError
from zigflow_worker.execution.trace import time_descriptor
from zigflow_worker.expressions import JSON, Budget, ExpressionError
from zigflow_worker.program.formulas import DurationFormula, Formula, Rules
from zigflow_worker.program.model import Frame, Program
from zigflow_worker.program.schemas import Schema

# A constant: were it the release's version, an upgrade could change what a replay computes.
_RUNTIME: dict[str, JSON] = {"name": "stigma", "version": "1.0", "metadata": {}}

_TIMER_SLACK = 0.001


class RunFacts:
    """Facts that do not change during a run, continued or not."""

    __slots__ = ("descriptor", "input", "program", "runtime", "started")

    def __init__(self, program: Program, workflow_id: str, raw_input: JSON, started: float) -> None:
        self.program = program
        self.input = raw_input
        self.started = started
        self.descriptor: dict[str, JSON] = {
            "id": workflow_id,
            "definition": program.source,
            "input": raw_input,
            "startedAt": time_descriptor(started),
        }
        self.runtime: dict[str, JSON] = dict(_RUNTIME)


class DataFlow:
    """Data and time of one run."""

    def __init__(self, facts: RunFacts) -> None:
        self.facts = facts
        self.context: JSON = None
        self.now = facts.started
        """Unix time of this activation."""
        self.budget = Budget()
        """Steps left to this activation."""

    def value(self, formula: Formula, frame: Frame, subject: JSON, exported: JSON = None) -> JSON:
        """Evaluate an expression or template on `subject` (raises ExpressionError)."""
        variables = frame.variables
        if formula.names:
            variables = {**variables}
            for name in formula.names:
                variables[name] = self._variable(name, frame, exported)
        return formula.evaluate(subject, variables, self.budget)

    def _variable(self, name: str, frame: Frame, exported: JSON) -> JSON:  # noqa: PLR0911 - one each
        match name:
            case "context":
                return self.context
            case "input":
                return frame.input
            case "output":
                return exported
            case "exported":
                return frame.exported
            case "workflow":
                return self.facts.descriptor
            case "runtime":
                return self.facts.runtime
        return self.describe(frame)

    def describe(self, frame: Frame) -> JSON:
        """Return the descriptor of a task, as `$task` has it."""
        description: dict[str, JSON] = {
            "name": frame.step.name,
            "reference": frame.step.pointer,
            "definition": frame.step.source,
            "input": frame.raw,
            "output": frame.output,
            "startedAt": time_descriptor(frame.started),
        }
        if isinstance(frame.details, Mapping):
            description.update(frame.details)
        return description

    def is_past(self, time: float) -> bool:
        """Return whether a time has come, as exactly as timers are."""
        return time <= self.now + _TIMER_SLACK

    def truth(self, formula: Formula, frame: Frame, subject: JSON) -> bool:
        """Evaluate a condition; like jq, only null and false are false."""
        value = self.value(formula, frame, subject)
        return value is not None and value is not False

    def seconds(self, duration: DurationFormula, frame: Frame, subject: JSON) -> float:
        """Return a duration in seconds."""
        if duration.formula is None:
            return duration.seconds
        try:
            value = self.value(duration.formula, frame, subject)
            return self._seconds_of(value)
        except ExpressionError:
            raise
        except ValueError as error:
            raise WorkflowError.of(EXPRESSION, str(error)) from None

    @abstractmethod
    def patched(self, change: str) -> bool:
        """Return whether the run has a change of the engine: False where it began before it."""

    def _seconds_of(self, value: JSON) -> float:
        try:
            return seconds_of(value, floats=False)
        except ValueError:
            seconds = seconds_of(value)
            if not self.patched(WHOLE_FLOATS):
                raise
            return seconds

    def apply_input_rules(self, rules: Rules, raw: JSON, frame: Frame) -> JSON:
        """Validate, then transform."""
        if rules.schema is not None:
            _validate(rules.schema, raw, "input")
        if rules.transformation is None:
            return raw
        return self.value(rules.transformation, frame, raw)

    def apply_output_rules(
        self, rules: Rules, data: JSON, frame: Frame, exported: JSON = None
    ) -> JSON:
        """Transform, then validate."""
        if rules.transformation is not None:
            data = self.value(rules.transformation, frame, data, exported)
        elif rules is frame.step.export:
            data = self.context
        if rules.schema is not None:
            what = "context" if rules is frame.step.export else "output"
            _validate(rules.schema, data, what)
        return data


def _validate(schema: Schema, data: JSON, what: str) -> None:
    violation = schema.violation(data)
    if violation is not None:
        raise WorkflowError.of(VALIDATION, f"{what} does not match: {violation}")
