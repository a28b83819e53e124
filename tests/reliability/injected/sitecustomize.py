"""Loaded by Python at the start of a service whose PYTHONPATH has this directory.

Puts into a service's process what no setting of it does: a bug, as a bad deploy has, and a
heartbeat timeout scaled down. Each is asked for by a variable of its own.
"""

from __future__ import annotations

import os
from datetime import timedelta

HEARTBEAT_SECONDS = "RELIABILITY_HEARTBEAT_SECONDS"
BUG = "RELIABILITY_BUG"


def scale_heartbeat_timeout(seconds: float) -> None:
    """Of the engine's agent calls, whose heartbeat timeout is the client's default: 5 minutes."""
    from stigma_client import workflow

    assert workflow.run_agent.__kwdefaults__ is not None
    workflow.run_agent.__kwdefaults__["heartbeat_timeout"] = timedelta(seconds=seconds)


def deploy_a_bug() -> None:
    """Whatever an agent does, its workflow's code raises."""
    from stigma_orchestrator.agents.budget import Budget

    def check(self: Budget) -> None:
        raise RuntimeError("the bug of a bad deploy")

    Budget.check = check  # type: ignore[method-assign]


if HEARTBEAT_SECONDS in os.environ:
    scale_heartbeat_timeout(float(os.environ[HEARTBEAT_SECONDS]))
if BUG in os.environ:
    deploy_a_bug()
