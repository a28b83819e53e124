"""Batches of calls whose results are as large as Temporal takes them: a run is never lost."""

from __future__ import annotations

import pytest

from services.stigma_orchestrator.tests.tool_agents import LAST, ToolAgents, answer, call
from stigma.contracts import limits

# As JSON it is just below the 2 MiB that Temporal takes.
LARGEST = 2 * 1024 * 1024 - 1024


@pytest.mark.tools_contract("results that would fill the history end the run")
async def test_a_batch_of_the_largest_results_ends_the_run_with_a_reason(
    agents: ToolAgents,
) -> None:
    batch = answer(*[call(how="large", size=LARGEST)] * limits.MAX_CALLS_AT_ONCE)
    async with agents.tools_running():
        handle = await agents.start(agents.agent([batch, LAST]), timeout=120)
        ended = await agents.ended(handle)
    assert ended.phase == "FAILED TOO_LARGE"
    message = ended.execution.status.failure.message
    made = len(agents.effects.calls)
    assert message.startswith(f"the results of {made} of 128 calls of one answer fill the history")
    assert 20 <= made < 30
    # What was done is said, call by call.
    assert ended.outcomes == ["OK"] * made
    described = await handle.describe()
    assert described.raw_description.workflow_execution_info.history_size_bytes < 50 * 1024 * 1024


async def test_calls_wait_for_room_and_are_all_made(
    monkeypatch: pytest.MonkeyPatch, agents: ToolAgents
) -> None:
    # Room for two results of unknown size beside the run's own history.
    monkeypatch.setattr(limits, "MAX_RESULTS_HISTORY_BYTES", 5 * 1024 * 1024)
    batch = answer(*[call(value=number) for number in range(12)])
    async with agents.tools_running():
        ended = await agents.run(batch, LAST)
    assert ended.phase == "COMPLETED"
    assert ended.outcomes == ["OK"] * 12
    under_way, most = set(), 0
    async for event in ended.handle.fetch_history_events():
        if event.HasField("activity_task_scheduled_event_attributes"):
            under_way.add(event.event_id)
        if event.HasField("activity_task_completed_event_attributes"):
            attributes = event.activity_task_completed_event_attributes
            under_way.discard(attributes.scheduled_event_id)
        most = max(most, len(under_way))
    assert most == 2
