"""Temporal's Worker Deployments: which version is current, and which one a run is on."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from temporalio.api.enums.v1 import RoutingConfigUpdateState
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentVersionRequest,
    RegisterNamespaceRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.service import RPCError, RPCStatusCode

from stigma.contracts.payloads import DATA_CONVERTER
from stigma_cli.namespaces import missing_attributes
from stigma_cli.setup import RETENTION, set_up
from tests.stack.waiting import eventually

WITHIN = timedelta(seconds=60)
# A namespace is known everywhere, and a version's queues are, only after a while.
NOT_YET = (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION)


async def new_namespace(address: str) -> str:
    """Register a namespace of this test's own, set up for Stigma."""
    name = f"versions-{uuid.uuid4().hex[:8]}"
    client = await Client.connect(address, namespace=name, data_converter=DATA_CONVERTER, lazy=True)
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.FromTimedelta(RETENTION)
    await client.workflow_service.register_namespace(request)

    async def known() -> bool:
        return await _tried(missing_attributes(client)) is not None

    await eventually(known, within=WITHIN, what=f"namespace {name}")
    await set_up(client, RETENTION)

    async def is_set_up() -> bool:
        return not await missing_attributes(client)

    await eventually(is_set_up, within=WITHIN, what="search attributes")
    return name


async def make_current(client: Client, deployment: str, build: str, queues: Iterable[str]) -> None:
    """Have new runs begin on this version, once its workers poll all these queues.

    Without a build: on workers that have no version.
    """
    wanted = set(queues)

    async def polls() -> bool:
        request = DescribeWorkerDeploymentVersionRequest(namespace=client.namespace)
        request.deployment_version.deployment_name = deployment
        request.deployment_version.build_id = build
        service = client.workflow_service
        version = await _tried(service.describe_worker_deployment_version(request))
        return version is not None and wanted <= {q.name for q in version.version_task_queues}

    if build:
        await eventually(polls, within=WITHIN, what=f"{build} of {deployment} on {sorted(wanted)}")
    await client.workflow_service.set_worker_deployment_current_version(
        SetWorkerDeploymentCurrentVersionRequest(
            namespace=client.namespace, deployment_name=deployment, build_id=build
        )
    )

    async def routed() -> bool:
        described = await client.workflow_service.describe_worker_deployment(
            DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=deployment)
        )
        info = described.worker_deployment_info
        current = info.routing_config.current_deployment_version.build_id
        state = info.routing_config_update_state
        under_way = RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_IN_PROGRESS
        return current == build and state != under_way

    await eventually(routed, within=WITHIN, what=f"{deployment} to route to {build}")


async def running_on(client: Client, deployment: str, build: str) -> int:
    """How many runs need this version's workers, as Temporal's visibility has it."""
    query = (
        f"TemporalWorkerDeploymentVersion = '{deployment}:{build}' AND ExecutionStatus = 'Running'"
    )
    return (await client.count_workflows(query)).count


async def histories(client: Client, workflow_id: str) -> list[WorkflowHistory]:
    """The history of each run of a workflow that continues as new, oldest first."""
    described = await client.get_workflow_handle(workflow_id).describe()
    run_id = described.raw_description.workflow_execution_info.first_run_id
    found = []
    while run_id:
        handle: WorkflowHandle[Any, Any] = client.get_workflow_handle(workflow_id, run_id=run_id)
        found.append(await handle.fetch_history())
        closing = found[-1].events[-1].workflow_execution_continued_as_new_event_attributes
        run_id = closing.new_execution_run_id
    return found


async def builds(client: Client, workflow_id: str) -> list[str]:
    """The version that each run was on: exactly one, or it was not pinned."""
    return [_build_of(history) for history in await histories(client, workflow_id)]


def _build_of(history: WorkflowHistory) -> str:
    completed = [
        event.workflow_task_completed_event_attributes
        for event in history.events
        if event.HasField("workflow_task_completed_event_attributes")
    ]
    return "+".join(sorted({one.deployment_version.build_id for one in completed}))


async def _tried(call: Any) -> Any:
    try:
        return await call
    except RPCError as error:
        if error.status not in NOT_YET:
            raise
        return None
