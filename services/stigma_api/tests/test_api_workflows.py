"""The registry of workflows over gRPC: what differs from that of agents is the document."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.stigma_api.tests.api_server import Api, refused
from stigma.contracts import limits
from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowLimits, WorkflowSpec
from stigma.workflow.v1.workflow_service_pb2 import (
    ApplyWorkflowRequest,
    DeleteWorkflowRequest,
    GetWorkflowRequest,
    ListWorkflowsRequest,
)
from stigma_api.definitions import document_check

Code = grpc.StatusCode
DOCUMENT = "workflow.spec.document"


def request(name: str = "billing", document: str = "echo", **fields: Any) -> ApplyWorkflowRequest:
    workflow = Workflow(name=name, spec=WorkflowSpec(document=document), **fields)
    return ApplyWorkflowRequest(workflow=workflow)


async def test_workflows_over_grpc(staffed_api: Api) -> None:
    workflows = staffed_api.workflows
    name = f"w-{uuid.uuid4().hex[:8]}"
    applying = request(name, labels={"a": "b"})
    applying.validate_only = True
    checked = await workflows.ApplyWorkflow(applying)
    async with refused(Code.NOT_FOUND) as refusal:
        await workflows.GetWorkflow(GetWorkflowRequest(id=name))
    assert refusal.message == f"workflow {name} not found"
    applying.validate_only = False
    applied = await workflows.ApplyWorkflow(applying)
    assert (applied.version, applied.digest) == (1, checked.digest)
    assert await workflows.ApplyWorkflow(applying) == applied
    assert (await workflows.ApplyWorkflow(request(name, "hold"))).version == 2
    assert await workflows.GetWorkflow(GetWorkflowRequest(id=f"{name}@1")) == applied
    newest = await workflows.GetWorkflow(GetWorkflowRequest(id=name))
    assert newest.spec.document == "hold"

    page = await workflows.ListWorkflows(ListWorkflowsRequest(page_size=1000))
    assert newest in page.workflows
    assert applied not in page.workflows
    await workflows.DeleteWorkflow(DeleteWorkflowRequest(name=name))
    async with refused(Code.NOT_FOUND):
        await workflows.DeleteWorkflow(DeleteWorkflowRequest(name=name))
    assert (await workflows.ApplyWorkflow(applying)).version == 3


async def test_the_engine_says_what_is_wrong_with_a_document_and_where(staffed_api: Api) -> None:
    name = f"w-{uuid.uuid4().hex[:8]}"
    async with refused(Code.INVALID_ARGUMENT) as refusal:
        await staffed_api.workflows.ApplyWorkflow(request(name, "no document"))
    assert refusal.fields == [DOCUMENT]
    assert refusal.message.endswith("the document is not valid: line 1: not a mapping at /")
    async with refused(Code.NOT_FOUND):
        await staffed_api.workflows.GetWorkflow(GetWorkflowRequest(id=name))


async def test_all_mistakes_of_a_workflow_are_told_at_once(
    staffed_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In production others are told without the engine's after two seconds.
    monkeypatch.setattr(document_check, "REFUSED_TIMEOUT", document_check.TIMEOUT)
    broken = request("Bad Name", "has mistakes: 2", labels={"k": "'"})
    async with refused(Code.INVALID_ARGUMENT) as refusal:
        await staffed_api.workflows.ApplyWorkflow(broken)
    assert refusal.violations == [
        ("workflow.name", "must be 1 to 63 lower-case letters, digits and dashes, not at its ends"),
        ("workflow.labels.k", "has quotes, apostrophes, backslashes or control characters"),
        (DOCUMENT, "the document is not valid: 1:2: /do: wrong"),
        (DOCUMENT, "2:2: /do: wrong"),
    ]
    assert refusal.message == "; ".join(": ".join(each) for each in refusal.violations)


async def test_one_mistake_is_told_as_ever(staffed_api: Api) -> None:
    async with refused(Code.INVALID_ARGUMENT) as refusal:
        await staffed_api.workflows.ApplyWorkflow(request(document="has mistakes: 1"))
    assert refusal.message == f"{DOCUMENT}: the document is not valid: 1:2: /do: wrong"
    assert refusal.fields == [DOCUMENT]


async def test_the_details_have_more_mistakes_than_the_message(staffed_api: Api) -> None:
    async with refused(Code.INVALID_ARGUMENT) as refusal:
        await staffed_api.workflows.ApplyWorkflow(request(document="has mistakes: 100"))
    *lines, in_details, rest = refusal.message.split("; ")
    told = len(refusal.fields)
    assert told > len(lines) > 10
    assert in_details == f"{told - len(lines)} in the details"
    assert rest == f"and {100 - told} more"


async def test_an_engine_that_cannot_check_is_not_taken_for_a_bad_document(
    staffed_api: Api,
) -> None:
    async with refused(Code.UNAVAILABLE) as refusal:
        await staffed_api.workflows.ApplyWorkflow(request(document="an older engine"))
    assert refusal.message == "the workflow engine cannot check documents: is it older?"


async def test_without_an_engine_nothing_is_registered(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stigma_api.definitions.document_check.TIMEOUT", timedelta(seconds=1))
    async with refused(Code.UNAVAILABLE) as refusal:
        await api.workflows.ApplyWorkflow(request())
    assert refusal.message == "no workflow engine checked the document within 1 s"
    async with refused(Code.NOT_FOUND):
        await api.workflows.GetWorkflow(GetWorkflowRequest(id="billing"))


@pytest.mark.parametrize(
    ("workflow", "field"),
    [
        (Workflow(name="Bad", spec=WorkflowSpec(document="echo")), "workflow.name"),
        (Workflow(name="a"), DOCUMENT),
        (Workflow(name="a", spec=WorkflowSpec(document=" \n")), DOCUMENT),
        (
            Workflow(name="a", spec=WorkflowSpec(document="x" * (limits.MAX_DOCUMENT_BYTES + 1))),
            DOCUMENT,
        ),
        (
            Workflow(name="a", spec=WorkflowSpec(document="echo", description="x" * 5000)),
            "workflow.spec.description",
        ),
        (
            Workflow(
                name="a",
                spec=WorkflowSpec(
                    document="echo", limits=WorkflowLimits(timeout=Duration(seconds=-1))
                ),
            ),
            "workflow.spec.limits.timeout",
        ),
        (
            Workflow(name="a", spec=WorkflowSpec(document="echo"), labels={"k": "'"}),
            "workflow.labels.k",
        ),
    ],
)
async def test_a_malformed_workflow_is_refused_where_there_is_no_engine(
    api: Api, monkeypatch: pytest.MonkeyPatch, workflow: Workflow, field: str
) -> None:
    monkeypatch.setattr(
        "stigma_api.definitions.document_check.REFUSED_TIMEOUT", timedelta(seconds=0.2)
    )
    async with refused(Code.INVALID_ARGUMENT) as refusal:
        await api.workflows.ApplyWorkflow(ApplyWorkflowRequest(workflow=workflow))
    assert refusal.fields == [field]


async def test_health_knows_the_services(api: Api) -> None:
    stub = health_pb2_grpc.HealthStub(api.channel)
    for service in ("WorkflowService", "WorkflowExecutionService"):
        asked = health_pb2.HealthCheckRequest(service=f"stigma.workflow.v1.{service}")
        assert (await stub.Check(asked)).status
