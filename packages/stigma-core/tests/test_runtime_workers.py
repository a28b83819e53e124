"""Temporal workers as components: options, versioning, readiness, and their end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from temporalio import activity
from temporalio.api.workflowservice.v1 import GetSystemInfoResponse
from temporalio.client import Client
from temporalio.common import VersioningBehavior
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from stigma.runtime import Readiness, ServiceSettings, WorkerComponent, worker_options
from stigma.runtime.errors import ConfigurationError, ServiceError
from stigma.runtime.temporal import supports_version_updates


@activity.defn(name="nothing")
async def nothing() -> None: ...


@pytest.fixture
async def client(temporal_server: Any) -> Client:
    return await Client.connect(temporal_server.address)


@pytest.fixture
async def old_server() -> AsyncIterator[str]:
    """The address of what answers GetSystemInfo as Temporal 1.29.1 does."""

    async def get_system_info(request: bytes, context: object) -> bytes:
        return GetSystemInfoResponse(server_version="1.29.1").SerializeToString()

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "GetSystemInfo": grpc.unary_unary_rpc_method_handler(get_system_info)
    }
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "temporal.api.workflowservice.v1.WorkflowService", handlers
            ),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(grace=None)


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


def test_a_deployment_needs_the_version_of_this_worker() -> None:
    with pytest.raises(ConfigurationError, match="TEMPORAL_WORKER_BUILD_ID"):
        worker_options(ServiceSettings(deployment_name="orchestrator"))
    # A build alone is a name for what polls.
    assert worker_options(ServiceSettings(build_id="b1"))["build_id"] == "b1"


@pytest.mark.parametrize(
    ("server_version", "supported"),
    [
        ("1.29.1", False),
        ("v1.31.9", False),
        ("1.32.0", True),
        ("1.32.0-158.0", True),
        ("2.0.0", True),
        ("", True),
    ],
)
def test_which_servers_report_versions(server_version: str, supported: bool) -> None:
    assert supports_version_updates(server_version) is supported


async def test_a_versioned_worker_does_not_start_on_an_old_server(old_server: str) -> None:
    settings = ServiceSettings(deployment_name="relay", build_id="v1")
    client = await Client.connect(old_server)
    worker = Worker(client, task_queue="q", activities=[nothing], **worker_options(settings))
    readiness = Readiness()
    with pytest.raises(ConfigurationError) as refused:
        await WorkerComponent("w", worker, readiness).start()
    assert str(refused.value) == (
        "worker versioning needs Temporal 1.32 or newer, this one is 1.29.1:"
        " unset TEMPORAL_DEPLOYMENT_NAME and TEMPORAL_WORKER_BUILD_ID, or upgrade Temporal"
    )
    assert not readiness.ready


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


async def test_a_worker_temporal_refuses_does_not_start(temporal_server: Any) -> None:
    client = await Client.connect(temporal_server.address, namespace="nowhere")
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
