"""The activity of a caller, as Temporal shows it."""

from __future__ import annotations

from typing import Any

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import WorkflowHandle

from tests.stack.waiting import eventually


async def in_backoff(caller: WorkflowHandle[Any, Any]) -> PendingActivityInfo:
    """Wait until the first attempt has failed and the second waits for its time."""

    async def check() -> PendingActivityInfo | None:
        described = (await caller.describe()).raw_description.pending_activities
        found = described[0] if described else None
        scheduled = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
        return found if found and found.state == scheduled and found.attempt == 2 else None

    return await eventually(check, what="an attempt that waits for its time")
