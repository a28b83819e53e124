"""Executions of either kind and their events, as text for people."""

from __future__ import annotations

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, CallbackState
from stigma.agent.v1.agent_execution_service_pb2 import (
    ConversationSummarized,
    StepReported,
    WatchAgentExecutionResponse,
)
from stigma.contracts.costs import cost_text
from stigma.contracts.durations import format_duration
from stigma.contracts.errors import failure_message, reason_name
from stigma.contracts.executions import Execution, Kind, phase_name
from stigma.workflow.v1.workflow_execution_service_pb2 import WatchWorkflowExecutionResponse
from stigma_cli.conversation_text import answer_text, result_text, tokens_text, usage_text
from stigma_cli.document_text import document_text
from stigma_cli.execution_calls import Event
from stigma_cli.input_text import people_text, requested_text
from stigma_cli.output import as_time, counted
from stigma_cli.pending_text import pending_text


def describe(event: Event) -> str:
    """Return one event as a line."""
    match event.WhichOneof("event"):
        case "started":
            kind = Kind.of(event.started.execution)
            inline = "an inline agent" if kind is Kind.AGENT else "an inline workflow"
            line = f"started {definition_id(event.started.execution) or inline}"
        case "callback_bound":
            line = f"a caller waits ({event.callback_bound.fingerprint})"
        case "cancel_requested":
            line = f"cancellation requested {event.cancel_requested.reason}"
        case "callback_delivering":
            fingerprint = event.callback_delivering.fingerprint
            line = f"delivering ({fingerprint})" if fingerprint else "delivering"
        case "ended":
            line = _ended(event.ended.execution)
        case _:
            line = _work(event) or "something this release of the command does not know"
    return line.rstrip()


def definition_id(execution: Execution) -> str:
    """Return the id of an execution's definition, "name@version"; "" for an inline one."""
    return str(getattr(execution.spec, f"{Kind.of(execution)}_id"))


def outcome(execution: Execution) -> str:
    """Return the output of an execution, or the reason why there is none."""
    status = execution.status
    if status.HasField("failure"):
        return failure_message(execution)
    if isinstance(execution, AgentExecution):
        return execution.status.output.json or execution.status.output.text
    return execution.status.output.json


def rows(execution: Execution) -> list[tuple[str, str]]:
    """Return names and texts of what is known of an execution; some are empty."""
    spec, status = execution.spec, execution.status
    callback = CallbackState.Name(status.callback.state).removeprefix("CALLBACK_STATE_")
    return [
        ("id", execution.id),
        (str(Kind.of(execution)), definition_id(execution) or "(inline)"),
        ("phase", phase_name(execution)),
        ("outcome", outcome(execution)),
        *_work_rows(execution),
        *_pending_rows(execution),
        ("started", time_of(execution, "start_time")),
        ("ended", time_of(execution, "end_time")),
        ("deadline", time_of(execution, "deadline")),
        ("session", spec.session_id),
        ("caller", f"{spec.caller.workflow_id} {spec.caller.activity_id}".strip()),
        ("callback", callback if status.HasField("callback") else ""),
        ("request", spec.request_id),
        *_input_rows(execution),
    ]


def time_of(execution: Execution, name: str) -> str:
    """Return one of the times of an execution; "" when it has not come yet."""
    if not execution.status.HasField(name):  # type: ignore[arg-type] # one of three literals
        return ""
    return as_time(getattr(execution.status, name))


def took(execution: Execution) -> str:
    """Return how long an execution took; "" while it is open."""
    status = execution.status
    if not status.HasField("end_time"):
        return ""
    nanoseconds = status.end_time.ToNanoseconds() - status.start_time.ToNanoseconds()
    return format_duration(max(nanoseconds, 0) / 10**9)


def _ended(execution: Execution) -> str:
    """Return phase and outcome, where a reason that is named as the phase says both."""
    phase, text = phase_name(execution), outcome(execution)
    says_both = execution.status.HasField("failure") and text.partition(":")[0] == phase
    return text if says_both else f"{phase} {text}"


def _work(event: Event) -> str:
    """Return a line for an event that only one kind has; "" for an unknown one."""
    match event:
        case WatchWorkflowExecutionResponse() if event.HasField("run_started"):
            return f"the workflow engine runs {event.run_started.run.workflow_id}"
        case WatchWorkflowExecutionResponse():
            return document_text(event)
        case WatchAgentExecutionResponse() if event.HasField("model_call_started"):
            call = event.model_call_started
            return f"model call {call.step}: {call.model}"
        case WatchAgentExecutionResponse() if event.HasField("model_call_completed"):
            done = event.model_call_completed
            return f"model call {done.step} answered: {answer_text(done.message)}"
        case WatchAgentExecutionResponse() if event.HasField("model_call_failed"):
            failed = event.model_call_failed
            reason = reason_name(failed.failure.reason)
            return f"model call {failed.step} failed: {reason}: {failed.failure.message}"
        case _:
            return _tool_call(event)


def reported_text(reported: StepReported) -> str:
    """Return a line for a step that the agent's own workflow has told of."""
    text = " ".join(reported.text.split())
    return f"step {reported.step}, {reported.name}: {text}".rstrip(": ")


def _summarized_text(summarized: ConversationSummarized) -> str:
    steps = f"the steps before {summarized.before}"
    if summarized.HasField("failure"):
        reason = reason_name(summarized.failure.reason)
        return f"{steps} are dropped, for want of a summary: {reason}: {summarized.failure.message}"
    return f"{steps} are summarised: {' '.join(summarized.text.split())}"


def _tool_call(event: WatchAgentExecutionResponse) -> str:
    if event.HasField("tool_call_started"):
        return f"tool call {event.tool_call_started.call_id} {event.tool_call_started.name}"
    if event.HasField("tool_call_ended"):
        return f"tool call {result_text(event.tool_call_ended.result)}"
    if event.HasField("reported"):
        return reported_text(event.reported)
    if event.HasField("summarized"):
        return _summarized_text(event.summarized)
    return people_text(event)


def _input_rows(execution: Execution) -> list[tuple[str, str]]:
    """Return input and document of a workflow; an agent's conversation begins with its own."""
    if isinstance(execution, AgentExecution):
        return []
    document = execution.spec.workflow.document.rstrip()
    return [
        ("input", execution.spec.input_json),
        ("document", f"\n{document}" if document else ""),
    ]


def _pending_rows(execution: Execution) -> list[tuple[str, str]]:
    status = execution.status
    more = status.more_pending_steps
    return [
        *(("waits", pending_text(each)) for each in status.pending_steps),
        ("waits", f"for {counted(more, 'more step')}" if more else ""),
    ]


def _work_rows(execution: Execution) -> list[tuple[str, str]]:
    if not isinstance(execution, AgentExecution):
        return [("error", execution.status.error_json), ("run", execution.status.run.workflow_id)]
    usage, by_model = execution.status.usage, execution.status.usage_by_model
    models = sorted(by_model.items()) if len(by_model) > 1 else []
    return [
        *(
            ("waits", requested_text(each).removeprefix("waits "))
            for each in execution.status.pending_inputs
        ),
        ("steps", str(execution.status.steps)),
        ("tools", counted(usage.tool_calls, "call") if usage.tool_calls else ""),
        ("tokens", tokens_text(usage)),
        ("cost", cost_text(usage)),
        *((model, usage_text(of_model)) for model, of_model in models),
    ]
