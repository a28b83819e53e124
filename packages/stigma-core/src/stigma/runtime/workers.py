"""Temporal workers as parts of a service."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from importlib import metadata
from typing import Any

import structlog
import temporalio.activity
import temporalio.workflow
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkerDeploymentConfig

from stigma.runtime.errors import ConfigurationError, ServiceError
from stigma.runtime.health import Readiness
from stigma.runtime.settings import ServiceSettings
from stigma.runtime.temporal import check_worker_versioning

HEARTBEAT_THROTTLE = timedelta(seconds=2)
"""Least time between two heartbeats of an activity that are sent."""

_START_POLL_SECONDS = 0.01


def worker_options(
    settings: ServiceSettings, heartbeat_throttle: timedelta = HEARTBEAT_THROTTLE
) -> dict[str, Any]:
    """Return the keyword arguments that every `Worker` of a service is made with.

    Running activities get `shutdown_grace` to end (the SDK's default is none at all); a cancel
    reaches an activity within the throttle of its next heartbeat (by default up to 30 s and more).

    Args:
        settings: of the service.
        heartbeat_throttle: least time between two heartbeats of an activity that are sent.

    Raises:
        ConfigurationError: a deployment is named, but not the version of this worker in it.
    """
    options: dict[str, Any] = {
        "graceful_shutdown_timeout": settings.shutdown_grace,
        "max_heartbeat_throttle_interval": heartbeat_throttle,
        "default_heartbeat_throttle_interval": heartbeat_throttle,
    }
    if not settings.workflow_sandbox:
        options["workflow_runner"] = UnsandboxedWorkflowRunner()
    if settings.deployment_name and not settings.build_id:
        raise ConfigurationError("TEMPORAL_DEPLOYMENT_NAME needs TEMPORAL_WORKER_BUILD_ID")
    if settings.deployment_name:
        options["deployment_config"] = WorkerDeploymentConfig(
            version=WorkerDeploymentVersion(settings.deployment_name, settings.build_id),
            use_worker_versioning=True,
            default_versioning_behavior=VersioningBehavior.PINNED,
        )
    else:
        # Given none, the SDK hashes the code of every loaded module: a second of start-up.
        options["build_id"] = settings.build_id or f"stigma-{metadata.version('stigma-core')}"
    return options


class WorkerComponent:
    """A Temporal worker as a part of a service: ready while it polls, drained at the end.

    Args:
        name: for logs and readiness.
        worker: made with `worker_options`.
        readiness: the service's.

    Raises:
        ValueError: the worker has no graceful shutdown timeout, so that every deploy would
            cancel the activities running on it.
    """

    def __init__(self, name: str, worker: Worker, readiness: Readiness) -> None:
        if not worker.config().get("graceful_shutdown_timeout"):
            raise ValueError(f"worker {name} needs a graceful_shutdown_timeout: use worker_options")
        self.name = name
        self._worker = worker
        self._readiness = readiness
        self._run: asyncio.Task[None] | None = None
        self._log = structlog.get_logger()

    async def start(self) -> None:
        """Start polling.

        Raises:
            ConfigurationError: the worker is versioned, and Temporal is too old for it.
            RPCError: Temporal did not answer.
            RuntimeError: the SDK's, when Temporal refuses the worker.
        """
        self._readiness.set(self.name, False, "starting")
        if self._worker.config().get("deployment_config"):
            await check_worker_versioning(self._worker.client)
        self._run = asyncio.create_task(self._worker.run(), name=self.name)
        while not self._worker.is_running:  # the SDK has no event for it
            done, _ = await asyncio.wait({self._run}, timeout=_START_POLL_SECONDS)
            if done:
                await self._run
        self._readiness.set(self.name, True)
        config = self._worker.config(active_config=True)  # with what its plugins added
        self._log.info(
            "registered",
            worker=self.name,
            task_queue=self._worker.task_queue,
            workflows=sorted(_workflow_name(w) for w in config.get("workflows", ())),
            activities=sorted(_activity_name(a) for a in config.get("activities", ())),
        )

    async def stop(self, grace: timedelta) -> None:  # noqa: ARG002 - the worker has it from worker_options
        """Stop polling; running activities end, or are cancelled when the grace is over."""
        self._readiness.set(self.name, False, "stopping")
        if self._run is None:
            return
        shutdown = asyncio.create_task(self._worker.shutdown())
        # A worker whose run ended early (or never began) completes no shutdown: wait for either.
        await asyncio.wait({shutdown, self._run}, return_when=asyncio.FIRST_COMPLETED)
        shutdown.cancel()
        with contextlib.suppress(Exception):  # its failure, if any, was raised by wait_failed
            await self._run

    async def wait_failed(self) -> None:
        """Raise the worker's failure, or ServiceError when it ended by itself."""
        if self._run is None:
            raise ServiceError(f"worker {self.name} was not started")
        try:
            await asyncio.shield(self._run)
        finally:
            if self._run.done():
                self._readiness.set(self.name, False, "ended")
        raise ServiceError(f"worker {self.name} ended by itself")


def _workflow_name(workflow: type) -> str:
    definition = temporalio.workflow._Definition.must_from_class(workflow)
    return definition.name or "(dynamic)"


def _activity_name(activity: Any) -> str:
    definition = temporalio.activity._Definition.must_from_callable(activity)
    return definition.name or "(dynamic)"
