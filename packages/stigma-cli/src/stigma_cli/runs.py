"""Runs of workflow documents on the engine."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from stigma.contracts import engine, limits
from stigma.contracts.errors import detail_of
from stigma.contracts.refusals import Refusal, refusal_in
from stigma_cli.errors import CliError, Exit
from stigma_cli.temporal_connections import temporal_address, temporal_call
from stigma_cli.temporal_errors import from_temporal

_QUERY_TIMEOUT = timedelta(seconds=5)

# Status codes of a query that no worker answers now; the run's outcome has the error, if any.
_UNANSWERED = (
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.FAILED_PRECONDITION,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.INVALID_ARGUMENT,
)

# Hints for a run that the engine refused before its first task.
_REFUSAL_HINTS = {
    Refusal.START: "this command and the engine are of different releases",
    Refusal.UNKNOWN_DOCUMENT: "see the engine's STIGMA_WORKFLOWS_DIR",
    Refusal.DOCUMENT: "`stigma validate` shows each place",
    Refusal.INPUT: "give what the document's `input` asks for with --input",
}


async def start(
    client: Client, name: str, text: str, data: Any, *, queue: str
) -> WorkflowHandle[Any, Any]:
    """Start a document on the engine, which serves `queue`.

    Raises:
        CliError: it is too large, or Temporal cannot be reached.
    """
    argument = {"document": text, "input": data}
    size = len(json.dumps(argument, separators=(",", ":"), ensure_ascii=False).encode())
    if size > limits.MAX_PAYLOAD_BYTES:
        raise CliError(
            f"document and input are {size} bytes; the limit is {limits.MAX_PAYLOAD_BYTES}",
            code=Exit.USAGE,
        )
    return await temporal_call(
        client.start_workflow(name, argument, id=f"{name}-{uuid.uuid4()}", task_queue=queue),
        client.service_client.config.target_host,
    )


async def result(handle: WorkflowHandle[Any, Any]) -> Any:
    """Wait for a run's output.

    Raises:
        CliError: the run failed, or was cancelled, terminated or timed out.
    """
    try:
        return await handle.result()
    except WorkflowFailureError as error:
        raise _failed(handle.id, error) from None
    except (RPCError, RuntimeError) as error:
        raise from_temporal(error, temporal_address()) from None


async def trace(handle: WorkflowHandle[Any, Any]) -> list[dict[str, Any]]:
    """Return the tasks of a run so far; none while no worker can answer."""
    try:
        tasks = await handle.query(engine.TRACE_QUERY, rpc_timeout=_QUERY_TIMEOUT)
    except WorkflowQueryFailedError:
        return []
    except RPCError as error:
        if error.status not in _UNANSWERED:
            raise from_temporal(error, temporal_address()) from None
        return []
    return list(tasks) if isinstance(tasks, list) else []


def _failed(workflow_id: str, error: WorkflowFailureError) -> CliError:
    cause: BaseException = error.cause
    if not isinstance(cause, ApplicationError):
        kind = type(cause).__name__.removesuffix("Error").lower()
        return CliError(f"{workflow_id}: {kind}: {cause}")
    kind = (cause.type or "failed").rpartition("/errors/")[2]
    refusal = refusal_in(detail_of(cause))
    hint, code = (_REFUSAL_HINTS[refusal], Exit.USAGE) if refusal else ("", Exit.FAILED)
    return CliError(f"{workflow_id}: {kind}: {cause.message}", hint, code=code)
