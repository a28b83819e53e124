"""Today's workflow code goes the way that every release's executions went.

A workflow that is open while a new release is deployed goes on in the new code. The histories are
written by `make release-data`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.workflow import NondeterminismError

from tests.upgrades.past_release import RELEASES
from tests.upgrades.replaying import replayer

HISTORIES = sorted(RELEASES.glob("*/histories/*.json"))


def name_of(path: Path) -> str:
    return f"{path.parent.parent.name}/{path.stem}"


def history_in(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(path.stem, path.read_text())


@pytest.mark.parametrize("path", HISTORIES, ids=name_of)
async def test_a_release_s_history(path: Path) -> None:
    await replayer().replay_workflow(history_in(path))


def test_there_is_every_kind_of_history() -> None:
    """A glob that finds nothing would prove nothing."""
    kinds = {path.name.split(".")[1] for path in HISTORIES}
    assert {"agent", "caller"} <= kinds
    assert any(path.name.startswith("document-") for path in HISTORIES)


async def test_another_way_is_noticed() -> None:
    """Replay compares: an execution that called something else fails."""
    path = next(path for path in HISTORIES if path.name == "success.agent.1.json")
    other = history_in(path)
    for event in other.events:
        if event.HasField("activity_task_scheduled_event_attributes"):
            event.activity_task_scheduled_event_attributes.activity_type.name = "another"
    with pytest.raises(NondeterminismError):
        await replayer().replay_workflow(other)
