"""Reports and questions of a workflow that is an agent, to its execution.

For the worker of the workflow that an agent's `runtime` names. It needs no connection to Stigma:
all of it are Temporal signals, so that the same can be done in any language.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from stigma.contracts import external_signals, json_text, payloads
from stigma.contracts.workflows import ANSWER_INPUT, AgentWorkflow


class InputNotAnswered(ApplicationError):  # noqa: N818 - named after the outcome
    """Nobody has answered what was asked. Not retryable.

    An application error, which fails a workflow that does not catch it.
    """

    error_type: ClassVar[str] = "INPUT_REFUSED"

    def __init__(self, message: str) -> None:
        super().__init__(message, type=self.error_type, non_retryable=True)


class InputDeclined(InputNotAnswered):
    """A person said that nobody will answer."""

    error_type = "INPUT_DECLINED"


class InputExpired(InputNotAnswered):
    """Nobody answered in time."""

    error_type = "INPUT_EXPIRED"


@dataclass(frozen=True)
class Usage:
    """Use of a step. A cost of None is not known: with a cost limit, that ends the execution."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    tool_calls: int = 0
    model_calls: int = 1


@dataclass(frozen=True)
class Task:
    """The task that an execution gives its workflow."""

    execution_id: str
    message: str
    input: Any
    env: Mapping[str, str]
    session_id: str
    limits: Mapping[str, float | None]
    """steps, tool_calls, tokens, cost_usd; None is no such limit."""
    deadline: datetime

    @classmethod
    def of(cls, argument: Mapping[str, Any]) -> Self:
        """Return the task in the argument of the workflow; what else is in it is left out."""
        given = {name: argument[name] for name in cls.__dataclass_fields__ if name != "deadline"}
        deadline = datetime.fromisoformat(argument["deadline"])
        return cls(**given, deadline=deadline)


async def report(
    step: str,
    text: str = "",
    usage: Usage | None = None,
    *,
    report_id: str | None = None,
    execution_id: str | None = None,
) -> None:
    """Tell of a step: it counts against the execution's limits, and those who watch see it.

    Over a limit the execution ends, and this workflow is cancelled.

    Args:
        step: its name; at most 200 bytes, more is cut.
        text: what came of it; at most 64 KiB, more is cut.
        usage: what it used; one model call without tokens by default.
        report_id: a repetition under the same id counts once; a random one by default, stable over
            replays.
        execution_id: of the execution; by default the parent of this workflow.
    """
    value: dict[str, Any] = {"id": report_id or str(workflow.uuid4()), "step": step, "text": text}
    if usage is not None:
        value["usage"] = {k: v for k, v in vars(usage).items() if v is not None}
    reported = _execution(execution_id).signal(AgentWorkflow.report, _json(value))
    await external_signals.send(reported)


async def request_input(
    question: str,
    *,
    schema: Mapping[str, Any] | None = None,
    timeout: timedelta | None = None,
    request_id: str | None = None,
    execution_id: str | None = None,
) -> Any:
    """Ask people, and wait for the answer; the execution is INPUT_REQUIRED meanwhile.

    Args:
        question: at most 64 KiB.
        schema: JSON Schema of the answer; without one, any text or JSON.
        timeout: how long to wait; 24 h by default, at most 30 days, and until the deadline.
        request_id: a repetition under the same id asks nobody again, and gets no answer of its own;
            a random one by default, stable over replays.
        execution_id: of the execution; by default the parent of this workflow.

    Returns:
        The answer: what was given as JSON, parsed, or a text.

    Raises:
        InputDeclined: a person said that nobody will answer.
        InputExpired: nobody did in time.
        InputNotAnswered: too much is waited for already.
    """
    value: dict[str, Any] = {"id": request_id or str(workflow.uuid4()), "question": question}
    if schema is not None:
        value["schema"] = schema
    if timeout is not None:
        value["timeout_seconds"] = timeout.total_seconds()
    answers = _answers()
    requested = _execution(execution_id).signal(AgentWorkflow.request_input, _json(value))
    await external_signals.send(requested)
    await workflow.wait_condition(lambda: value["id"] in answers)
    return _result(answers.pop(value["id"]))


def _result(answer: Mapping[str, Any]) -> Any:
    reason = str(answer.get("reason", ""))
    match answer["outcome"]:
        case "ANSWERED":
            return answer.get("answer")
        case "DECLINED":
            raise InputDeclined(reason or "a person said that nobody will answer")
        case "EXPIRED":
            raise InputExpired("nobody answered in time")
    raise InputNotAnswered(reason or "the execution asks nobody")


def _answers() -> dict[str, Any]:
    """Return the answers of this workflow that nobody has taken; they are kept by its handler."""
    handler = workflow.get_signal_handler(ANSWER_INPUT)
    if isinstance(handler, _AnswerHandler):
        return handler.answers
    handler = _AnswerHandler()
    workflow.set_signal_handler(ANSWER_INPUT, handler)
    return handler.answers


class _AnswerHandler:
    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}

    def __call__(self, answer: RawValue) -> None:
        try:
            value = json_text.parse(answer.payload.data.decode())
        except ValueError:  # not from an execution; raised, it would fail this workflow for ever
            return
        if isinstance(value, dict) and {"id", "outcome"} <= value.keys():
            self.answers[str(value["id"])] = value


def _execution(execution_id: str | None) -> workflow.ExternalWorkflowHandle[AgentWorkflow]:
    parent = workflow.info().parent
    found = execution_id or (parent.workflow_id if parent is not None else "")
    if not found:
        message = "this workflow is no agent's: it has no parent, and no execution_id was given"
        raise ApplicationError(message, type="NO_EXECUTION", non_retryable=True)
    return workflow.get_external_workflow_handle_for(AgentWorkflow.run, found)


def _json(value: Mapping[str, Any]) -> RawValue:
    """Encode for the execution, whatever the converter of this worker is."""
    return RawValue(payloads.json_payload(value))
