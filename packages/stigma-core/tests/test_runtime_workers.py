from datetime import timedelta

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.common import VersioningBehavior
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from stigma.runtime import Readiness, ServiceSettings, WorkerComponent, worker_options
from stigma.runtime.errors import ServiceError


@activity.defn(name="nothing")
async def nothing() -> None: ...


@pytest.fixture
async def client(temporal_address: str) -> Client:
    return await Client.connect(temporal_address)


def test_options_follow_the_settings() -> None:
    options = worker_options(ServiceSettings(shutdown_grace=timedelta(seconds=7)))
    assert options["graceful_shutdown_timeout"] == timedelta(seconds=7)
    assert options["max_heartbeat_throttle_interval"] == timedelta(seconds=2)
    assert isinstance(options["workflow_runner"], UnsandboxedWorkflowRunner)
    assert "workflow_runner" not in worker_options(ServiceSettings(workflow_sandbox=True))


def test_a_versioned_worker_pins_its_workflows() -> None:
    options = worker_options(ServiceSettings(deployment_name="orchestrator", build_id="b1"))
    config = options["deployment_config"]
    assert config.version.to_canonical_string() == "orchestrator.b1"
    assert config.default_versioning_behavior is VersioningBehavior.PINNED
    assert "build_id" not in options


async def test_a_worker_without_grace_is_refused(client: Client) -> None:
    worker = Worker(client, task_queue="q", activities=[nothing])
    with pytest.raises(ValueError, match="graceful_shutdown_timeout"):
        WorkerComponent("w", worker, Readiness())


async def test_ready_only_while_polling(client: Client) -> None:
    readiness = Readiness()
    worker = Worker(client, task_queue="q", activities=[nothing], **worker_options(_settings()))
    component = WorkerComponent("w", worker, readiness)
    with pytest.raises(ServiceError, match="not started"):
        await component.wait_failed()
    await component.start()
    assert readiness.ready
    await worker.shutdown()
    with pytest.raises(ServiceError, match="ended by itself"):
        await component.wait_failed()
    assert readiness.reasons() == {"w": "ended"}
    await component.stop(timedelta(seconds=1))


async def test_a_worker_temporal_refuses_does_not_start(temporal_address: str) -> None:
    client = await Client.connect(temporal_address, namespace="nowhere")
    readiness = Readiness()
    worker = Worker(client, task_queue="q", activities=[nothing], **worker_options(_settings()))
    component = WorkerComponent("w", worker, readiness)
    await component.stop(timedelta(seconds=1))
    with pytest.raises(RuntimeError, match="nowhere"):
        await component.start()
    assert not readiness.ready
    await component.stop(timedelta(seconds=1))


def _settings() -> ServiceSettings:
    return ServiceSettings(shutdown_grace=timedelta(seconds=1))
