"""Calls that hang: stuck pending, the page of its alert, and the guide's *never completes*.

The calls are those that have waited since the first rehearsal: `stigma doctor` leaves out what is
younger than a minute.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stigma.agent.v1.agent_pb2 import FAILURE_REASON_CANCELLED
from tests.integration.installation import phase

if TYPE_CHECKING:
    from tests.integration.installation import Called
    from tests.rehearsals.ground import Ground

RUNBOOK = "runbooks/stuck-pending.md"
ALERT = "runbooks/calls-stuck.md"
GUIDE = "developer-guide.md"


async def test_calls_are_stuck_for_three_reasons(
    ground: Ground, patients: dict[str, Called]
) -> None:
    """Two at once, and then the third, which would hide the others; after it all is well."""
    limited, deserted = patients["limited"], patients["without its caller"]
    attempts = len(ground.gate.calls(limited.job.message))
    (await ground.gate.held(limited.job.message, nth=attempts)).refuse(429, "rate_limit_exceeded")
    retried = await ground.gate.held(limited.job.message, nth=attempts + 1)
    await deserted.workflow.terminate("a test wants it")
    async with (
        ground.operator(RUNBOOK, "a provider that limits calls") as operator,
        ground.operator(RUNBOOK, "a caller that was terminated") as another,
    ):
        shown = await operator.is_told(
            "find", _found(limited, "PROVIDER_LIMITED"), _found(deserted, "CALLER_GONE")
        )
        await operator.knows(ID=limited.execution_id)
        assert "RATE_LIMITED" in await operator.follow("look")
        await operator.types(_command(shown, limited))
        # The cure: the provider answers again.
        retried.answer("there is room again")
        assert await limited.result() == "there is room again"
        operator.cured()
        # The cure of the other: nobody waits, so it is stopped.
        await another.knows(ID=deserted.execution_id)
        await another.follow("look")
        assert _command(shown, deserted) == f"stigma execution cancel {deserted.execution_id}"
        await another.follow("cancel")
        execution = await ground.installation.ended(deserted.execution_id)
        assert phase(execution) == "CANCELLED"
        assert execution.status.failure.reason == FAILURE_REASON_CANCELLED
        another.cured()
    await _without_a_worker(ground, patients["without a worker"])


async def _without_a_worker(ground: Ground, called: Called) -> None:
    """Three pages lead to the same cure."""
    fault = "ai_worker stopped while a call waits"
    found = _found(called, "NO_WORKER")
    async with (
        ground.operator(RUNBOOK, fault) as operator,
        ground.operator(ALERT, fault) as alerted,
        ground.operator(GUIDE, fault) as caller,
        ground.without("ai_worker"),
    ):
        shown = await operator.is_told("find", found)
        assert "no worker polls task queue stigma-ai: start ai_worker" in shown
        await operator.knows(ID=called.execution_id)
        assert "RUNNING" in await operator.follow("look")
        assert called.execution_id in await operator.follow("look-in-temporal")
        await operator.types(_command(shown, called))
        await caller.is_told("never-completes", found)
        await alerted.is_told("look", found)
        # The cure: the service that it names is started.
        attempts = len(ground.gate.calls(called.job.message))
        await ground.stack.start("ai_worker")
        (await ground.gate.held(called.job.message, nth=attempts + 1)).answer("at last")
        assert await called.result() == "at last"
        await operator.sees("verify", "COMPLETED")
        await caller.sees("never-completes", "none stuck")
        await alerted.sees("look", "none stuck")
        for each in (operator, alerted, caller):
            each.cured()


def _found(called: Called, reason: str) -> str:
    """What `stigma doctor` says of a call."""
    return f"{called.execution_id} held@1: {reason}, started "


def _command(shown: str, called: Called) -> str:
    """The command that `stigma doctor` prints below what it says of a call."""
    match = re.search(rf"^{called.execution_id} .*\n.*\n  \$ (.*)$", shown, re.MULTILINE)
    assert match, shown
    return match[1]
