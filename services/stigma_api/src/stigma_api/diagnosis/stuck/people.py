"""Pending inputs of an execution, as a diagnosis names them: no content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import (
    PENDING_INPUT_KIND_APPROVAL,
    PENDING_INPUT_KIND_AUTHORIZATION,
    PendingInput,
)
from stigma.contracts.pending_inputs import MEMO
from stigma.contracts.typed_answers import DONE
from stigma.internal.v1.execution_pb2 import PendingInputs
from stigma_api.executions.reader import ExecutionDescription
from stigma_api.temporal.payloads import message


async def read_inputs(
    client: Client, description: ExecutionDescription[Any]
) -> Sequence[PendingInput]:
    """Return the pending inputs of an execution, oldest first, without asking a worker."""
    payload = description.described.workflow_execution_info.memo.fields.get(MEMO)
    found = await message(client, [payload] if payload is not None else [], PendingInputs)
    return found.inputs


def answer_command(execution_id: str, inputs: Sequence[PendingInput]) -> str:
    """Return the command that answers the oldest of these inputs; it shows more, and asks."""
    if not inputs:
        return f"stigma execution get {execution_id}"
    oldest = inputs[0]
    answer = "approve" if oldest.kind == PENDING_INPUT_KIND_APPROVAL else "answer"
    # Where one input is pending it may be left out.
    which = f" {oldest.id}" if len(inputs) > 1 else ""
    if oldest.kind == PENDING_INPUT_KIND_AUTHORIZATION:
        which = f"{which} {DONE}"
    return f"stigma execution {answer} {execution_id}{which}"
