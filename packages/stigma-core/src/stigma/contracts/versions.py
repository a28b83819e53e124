"""Versions of workflow code, as workflow code sees them: for workers of a Worker Deployment.

A run stays on the version it began on (PINNED) and may go to a newer one when it continues as new.
All of this is in history, so that it is the same on every replay; without a Worker Deployment, and
on a Temporal that does not tell of versions, nothing is ever to be done.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

LOOK = timedelta(hours=1)
"""How often a run that only waits has a workflow task, in which Temporal tells of a version."""


def is_versioned() -> bool:
    """Whether this run's worker belongs to a Worker Deployment."""
    version = workflow.info().get_current_deployment_version()
    return version is not None and version.deployment_name != ""


def has_changed() -> bool:
    """Whether new runs take another version than this run's, newer or rolled back to."""
    return workflow.info().is_target_worker_deployment_version_changed()


def of_next_run() -> workflow.ContinueAsNewVersioningBehavior | None:
    """What a run says about its successor's version when it continues as new.

    Nothing, unless the version has changed: the successor stays on this one.
    """
    return workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE if has_changed() else None
