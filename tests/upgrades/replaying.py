"""Replays histories with the code of whatever tree is first on the path.

`python tests/upgrades/replaying.py DIRECTORY` replays each JSON history in it, says of which files
the code is, and fails when the code takes another way through one of them.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from stigma.contracts.payloads import DATA_CONVERTER
from stigma_orchestrator import worker as orchestrator
from tests.reliability import caller_service
from zigflow_worker.workflow import DocumentWorkflow

# By the name in the worker's module: a release may have them in other modules.
_SERVED = vars(orchestrator)
_OF_SERVICES = (
    *("AgentWorkflow", "WorkflowExecutionWorkflow", "SessionWorkflow"),
    *("ListMcpToolsWorkflow", "CheckModelPriceWorkflow"),
)
_OF_CALLERS = ("AskAgent", "RunDocument", "OwnAgent")
# A release has those that there were by then.
WORKFLOWS: tuple[type, ...] = (
    *(_SERVED[name] for name in _OF_SERVICES if name in _SERVED),
    *(vars(caller_service)[name] for name in _OF_CALLERS if name in vars(caller_service)),
    DocumentWorkflow,
)


def replayer() -> Replayer:
    """As the services run their workflows: the document workflow takes every other name."""
    return Replayer(
        workflows=WORKFLOWS,
        data_converter=DATA_CONVERTER,
        workflow_runner=UnsandboxedWorkflowRunner(),
        debug_mode=True,  # a machine that is busy is no deadlock
    )


async def replay(paths: Sequence[Path]) -> None:
    """Replay these histories."""
    for path in paths:
        history = WorkflowHistory.from_json(path.stem, path.read_text())
        await replayer().replay_workflow(history)


if __name__ == "__main__":
    histories = sorted(Path(sys.argv[1]).glob("*.json"))
    asyncio.run(replay(histories))
    for workflow in WORKFLOWS:
        sys.stdout.write(f"{inspect.getfile(workflow)}\n")
    sys.stdout.write(f"replayed {len(histories)}\n")
    sys.stdout.flush()
    # As the services: threads of the SDK's core may call into an interpreter that is ending, which
    # aborts it.
    os._exit(0)
