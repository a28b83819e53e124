"""Runs that met another version of their workers go the same way again.

The histories are from test_versions.py, on a Temporal that tells of versions.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.workflow import NondeterminismError

from tests.upgrades.replaying import replay, replayer

DIRECTORY = Path(__file__).with_name("histories")
HISTORIES = sorted(DIRECTORY.glob("*.json"))
# Where the code would go on in this run if nobody had told it of another version.
TURNS = ["corrected.agent.1", "engine.caller.1", "napping.1", "suspended.1"]


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_a_run_that_met_another_version(path: Path) -> None:
    await replay([path])


@pytest.mark.parametrize("name", TURNS)
async def test_it_continued_because_it_was_told(name: str) -> None:
    history = WorkflowHistory.from_json(name, (DIRECTORY / f"{name}.json").read_text())
    for event in history.events:
        if event.HasField("workflow_task_started_event_attributes"):
            started = event.workflow_task_started_event_attributes
            started.target_worker_deployment_version_changed = False
    with pytest.raises(NondeterminismError):
        await replayer().replay_workflow(history)


async def test_what_is_too_large_was_told_and_stayed() -> None:
    history = WorkflowHistory.from_json("large", (DIRECTORY / "large.1.json").read_text())
    told = [
        event.event_id
        for event in history.events
        if event.workflow_task_started_event_attributes.target_worker_deployment_version_changed
    ]
    assert told
    assert history.events[-1].HasField("workflow_execution_completed_event_attributes")
