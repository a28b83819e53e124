"""Versions of workflow code, as workflow code sees them: for workers of a Worker Deployment.

A run stays on the version it began on (PINNED) and may go to a newer one when it continues as new.
All of this is in history, so that it is the same on every replay; without a Worker Deployment, and
on a Temporal that does not report versions, no target ever changes.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

VERSION_CHECK_INTERVAL = timedelta(hours=1)
"""Longest time between workflow tasks of a run that only waits: they carry the target version."""


def is_versioned() -> bool:
    """Return whether this run's worker belongs to a Worker Deployment."""
    version = workflow.info().get_current_deployment_version()
    return version is not None and version.deployment_name != ""


def target_changed() -> bool:
    """Return whether new runs take another version than this run's, newer or rolled back to."""
    return workflow.info().is_target_worker_deployment_version_changed()


def continue_as_new_behavior() -> workflow.ContinueAsNewVersioningBehavior | None:
    """Return the versioning behaviour to continue as new with.

    None, unless the version has changed: the successor stays on this one.
    """
    return workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE if target_changed() else None
