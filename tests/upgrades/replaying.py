"""Replays histories with the code of whatever tree is first on the path.

`python tests/upgrades/replaying.py DIRECTORY` replays each JSON history in it, says of which files
the code is, and fails when the code takes another way through one of them.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from stigma.contracts.payloads import DATA_CONVERTER
from stigma_orchestrator.agent_workflow import AgentWorkflow
from tests.reliability.caller_service import AskAgent
from zigflow_worker.workflow import DocumentWorkflow

OF_A_MACHINE = ("identity", "stackTrace")
WORKFLOWS = (AgentWorkflow, AskAgent, DocumentWorkflow)


async def replay(paths: Sequence[Path]) -> None:
    """Replay these histories."""
    replayer = Replayer(
        workflows=WORKFLOWS,
        data_converter=DATA_CONVERTER,
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    for path in paths:
        await replayer.replay_workflow(WorkflowHistory.from_json(path.stem, path.read_text()))


def as_data(history: WorkflowHistory) -> str:
    """A history as JSON that can be kept: without what is of one machine, and replay reads not."""
    return json.dumps(_without(json.loads(history.to_json()), *OF_A_MACHINE), indent=1) + "\n"


def _without(value: Any, *keys: str) -> Any:
    match value:
        case dict():
            return {key: _without(one, *keys) for key, one in value.items() if key not in keys}
        case list():
            return [_without(one, *keys) for one in value]
    return value


if __name__ == "__main__":
    histories = sorted(Path(sys.argv[1]).glob("*.json"))
    asyncio.run(replay(histories))
    for workflow in WORKFLOWS:
        sys.stdout.write(f"{inspect.getfile(workflow)}\n")
    sys.stdout.write(f"replayed {len(histories)}\n")
