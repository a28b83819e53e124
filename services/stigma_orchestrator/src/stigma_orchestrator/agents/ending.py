"""The ends of an agent's work: its output, its failure, or a fault of ours."""

from __future__ import annotations

from temporalio.exceptions import FailureError

from stigma.agent.v1.agent_execution_pb2 import AgentExecutionPhase, AgentOutput
from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.contracts import limits, payloads
from stigma_orchestrator.agents.step import AgentFailedError
from stigma_orchestrator.executions.outcome import Outcome

_EXCERPT_BYTES = 64 * 1024


def completed(output: AgentOutput, last_step: str) -> Outcome:
    """Return the outcome of an agent that has an output.

    Args:
        output: the output.
        last_step: name of the step that made it.

    Raises:
        AgentFailedError: it is too large to be carried.
    """
    # Its JSON form is the longest in which it travels: in a failure's details, for instance.
    if size := payloads.json_size_if_over(limits.MAX_OUTPUT_BYTES, output):
        excerpt = payloads.cut_text(output.text, _EXCERPT_BYTES)
        raise AgentFailedError(
            FailureReason.FAILURE_REASON_TOO_LARGE,
            f"the output has {size} bytes, the limit is {limits.MAX_OUTPUT_BYTES}",
            step=last_step,
            output=AgentOutput(text=excerpt, truncated=True),
        )
    return Outcome(AgentExecutionPhase.AGENT_EXECUTION_PHASE_COMPLETED, output)


def failed_outcome(failed: AgentFailedError) -> Outcome:
    """Return the outcome of an agent that failed."""
    phase = AgentExecutionPhase.AGENT_EXECUTION_PHASE_FAILED
    if failed.failure.reason == FailureReason.FAILURE_REASON_DEADLINE:
        phase = AgentExecutionPhase.AGENT_EXECUTION_PHASE_TIMED_OUT
    return Outcome(phase, failed.output, failed.failure)


def internal_outcome(error: FailureError) -> Outcome:
    """Return the outcome of an error that no step expects; it must reach the caller as well."""
    reason = FailureReason.FAILURE_REASON_INTERNAL
    phase = AgentExecutionPhase.AGENT_EXECUTION_PHASE_FAILED
    return Outcome.of_failure(phase, reason, type(error).__name__)
