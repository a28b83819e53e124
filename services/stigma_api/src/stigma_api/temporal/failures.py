"""Classes of Temporal's failures: what of them may be shown to everybody."""

from __future__ import annotations

from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.failure.v1 import Failure


def failure_class(failure: Failure) -> str:
    """Return the class of a failure; its text may quote a prompt, and stays out.

    For instance "RATE_LIMITED", "timed out: heartbeat" or "cancelled".
    """
    while failure.WhichOneof("failure_info") in _WRAPPERS and failure.HasField("cause"):
        failure = failure.cause
    match failure.WhichOneof("failure_info"):
        case "application_failure_info":
            # An error of a document is named by a URI, whose last part says it all.
            return failure.application_failure_info.type.rpartition("/")[2] or "failed"
        case "timeout_failure_info":
            name = TimeoutType.Name(failure.timeout_failure_info.timeout_type)
            return f"timed out: {name.removeprefix('TIMEOUT_TYPE_').lower().replace('_', ' ')}"
        case "canceled_failure_info":
            return "cancelled"
        case "terminated_failure_info":
            return "terminated"
        case _:
            return "failed"


_WRAPPERS = frozenset(
    {
        "activity_failure_info",
        "child_workflow_execution_failure_info",
        "nexus_operation_execution_failure_info",
        "nexus_handler_failure_info",
    }
)
