"""Ids of runs of documents, which are workflows in Temporal, and no executions."""

from __future__ import annotations

import re

from stigma.contracts.executions import Kind

# Ids of `stigma run`: the document's name, which may begin as an execution's id does, and a UUID.
_RUN_ID = re.compile(r".+-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# The run of a workflow execution: to cancel that is to cancel the execution.
_ENGINE_RUN_ID = re.compile(r"run-([0-9a-f]{32})")


def execution_of(workflow_id: str) -> str:
    """Return the execution whose run on the engine this is; the id itself for anything else."""
    found = _ENGINE_RUN_ID.fullmatch(workflow_id)
    return f"{Kind.WORKFLOW}-{found[1]}" if found else workflow_id


def is_run(workflow_id: str) -> bool:
    """Return whether an id is of a run of `stigma run`."""
    return bool(_RUN_ID.fullmatch(workflow_id))
