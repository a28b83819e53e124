"""What a workflow execution comes to, and that its caller and its own record always agree."""

from __future__ import annotations

import asyncio
import json

import pytest
from temporalio import activity
from temporalio.api.common.v1 import WorkflowExecution as TemporalExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from services.stigma_orchestrator.tests.caller_activity import in_backoff
from services.stigma_orchestrator.tests.orchestration import (
    Call,
    Orchestrator,
    phase_of,
    reason_of,
    state_of,
    until,
)
from services.stigma_orchestrator.tests.workflow_runs import Workflows
from stigma.contracts import engine, errors, limits, search_attributes
from stigma.contracts.activities import DELIVER_CALLBACK
from stigma.contracts.refusals import Refusal
from stigma.internal.v1.execution_pb2 import (
    DELIVERY_VERDICT_DELIVERED,
    DeliverCallbackRequest,
    DeliverCallbackResponse,
)
from stigma.workflow.v1.workflow_execution_pb2 import CALLBACK_PAYLOAD_OUTPUT, WorkflowExecution
from tests.stack.waiting import eventually

ACTIVITY_COMPLETED = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
CHILD_COMPLETED = EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED
CHILD_STARTED = EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
TIMER_FIRED = EventType.EVENT_TYPE_TIMER_FIRED

PROBLEM = {
    "type": "https://example.com/errors/broken",
    "status": 500,
    "title": "Broken",
    "detail": "it is",
    "instance": "/do/0/break",
}


async def test_success_reaches_the_caller(orchestrator: Orchestrator, workflows: Workflows) -> None:
    caller, attempt = await orchestrator.call()
    given = '{"big": 12345678901234567890123, "text": "é"}'
    handle = await workflows.start(attempt.bind(), input_json=given, workflow_id="sums@3")
    execution = await workflows.outcome(handle)
    result = await caller.result()
    assert (result["id"], result["phase"]) == (handle.id, "COMPLETED")
    assert json.loads(result["text"]) == json.loads(given)
    assert (phase_of(execution), state_of(execution)) == ("COMPLETED", "DELIVERED")
    assert execution.status.output.json == result["text"]
    assert execution.spec.workflow_id == "sums@3"
    assert not execution.spec.workflow.document
    [request] = orchestrator.sender.requests
    assert request.workflow_execution.status.end_time == execution.status.end_time
    run = await workflows.run_of(handle).describe()
    assert execution.status.run.workflow_id == run.id
    assert execution.status.run.run_id == run.run_id


@pytest.mark.parametrize(("workflow_id", "name"), [("sums@3", "sums"), ("", "inline")])
async def test_the_run_has_the_workflow_s_name_and_a_parent(
    workflows: Workflows, workflow_id: str, name: str
) -> None:
    handle = await workflows.start(document="describe", workflow_id=workflow_id)
    execution = await workflows.outcome(handle)
    result = json.loads(execution.status.output.json)
    assert result == {"type": name, "parent": handle.id}
    assert not execution.status.HasField("callback")


async def test_no_input_is_null(workflows: Workflows) -> None:
    execution = await workflows.outcome(await workflows.start(input_json=""))
    assert execution.status.output.json == "null"


async def test_an_input_that_is_not_json_starts_nothing(workflows: Workflows) -> None:
    handle = await workflows.start(input_json='1, "state": {}')
    execution = await workflows.outcome(handle)
    assert (phase_of(execution), reason_of(execution)) == ("FAILED", "INVALID_REQUEST")
    with pytest.raises(RPCError) as refused:
        await workflows.run_of(handle).describe()
    assert refused.value.status == RPCStatusCode.NOT_FOUND


async def test_an_error_reaches_the_caller_with_its_task(
    orchestrator: Orchestrator, workflows: Workflows
) -> None:
    caller, attempt = await orchestrator.call()
    handle = await workflows.start(
        attempt.bind(), document="fail", input_json=json.dumps([PROBLEM])
    )
    result = await caller.result()
    assert result["error"] == "WORKFLOW_EXECUTION_FAILED"
    assert result["message"] == f"WORKFLOW_ERROR: Broken: it is (at {PROBLEM['instance']})"
    details = result["details"]
    assert (details["reason"], details["step"]) == ("WORKFLOW_ERROR", PROBLEM["instance"])
    execution = await workflows.outcome(handle)
    assert (phase_of(execution), state_of(execution)) == ("FAILED", "DELIVERED")
    assert json.loads(execution.status.error_json) == PROBLEM
    read = errors.workflow_execution_from_details(details)
    assert read is not None
    assert read.status.failure == execution.status.failure
    attributes = (await handle.describe()).typed_search_attributes
    assert attributes[search_attributes.PHASE] == "FAILED"


async def test_only_what_is_long_in_an_error_is_cut(workflows: Workflows) -> None:
    problem = PROBLEM | {"detail": "ж" * 40_000}
    handle = await workflows.start(document="fail", input_json=json.dumps([problem]))
    execution = await workflows.outcome(handle)
    told = json.loads(execution.status.error_json)
    assert told == PROBLEM | {"detail": "ж" * 1000 + "…"}
    message = execution.status.failure.message
    assert message.startswith("Broken: жжж")
    assert limits.MAX_ERROR_BYTES - 1 <= len(message.encode()) <= limits.MAX_ERROR_BYTES
    assert execution.status.failure.step == PROBLEM["instance"]


@pytest.mark.parametrize("refusal", Refusal)
async def test_what_the_engine_refuses_is_an_invalid_workflow(
    workflows: Workflows, refusal: Refusal
) -> None:
    problem = PROBLEM | {"refusal": str(refusal), "instance": "/"}
    handle = await workflows.start(document="fail", input_json=json.dumps([problem]))
    execution = await workflows.outcome(handle)
    assert (phase_of(execution), reason_of(execution)) == ("FAILED", "INVALID_WORKFLOW")
    assert json.loads(execution.status.error_json)["refusal"] == refusal


@pytest.mark.parametrize(
    ("details", "reason", "message"),
    [
        ([], "WORKFLOW_ERROR", "the whole line"),
        (["odd"], "WORKFLOW_ERROR", "the whole line"),
        ([{}], "WORKFLOW_ERROR", "the whole line"),
        ([{"type": "t"}], "WORKFLOW_ERROR", "t"),
        ([{"title": "t", "reason": "TOO_LARGE"}], "TOO_LARGE", "t"),
        ([{"title": "half \ud800", "instance": "\ud800"}], "WORKFLOW_ERROR", "half \ufffd"),
        ([{"title": "t", "reason": "of a later release"}], "INTERNAL", "t"),
    ],
)
async def test_every_error_has_a_reason(
    workflows: Workflows, details: list[object], reason: str, message: str
) -> None:
    handle = await workflows.start(document="fail", input_json=json.dumps(details))
    execution = await workflows.outcome(handle)
    assert (phase_of(execution), reason_of(execution)) == ("FAILED", reason)
    assert execution.status.failure.message == message


async def test_a_worker_of_an_older_release_delivers_no_workflow_execution(
    orchestrator: Orchestrator, workflows: Workflows, foreign_client: Client
) -> None:
    """It knows agents alone, and would take this one's outcome for a failed agent's."""
    delivered: list[DeliverCallbackRequest] = []

    @activity.defn(name=DELIVER_CALLBACK)
    async def deliver_callback(request: DeliverCallbackRequest) -> DeliverCallbackResponse:
        delivered.append(request)
        return DeliverCallbackResponse(verdict=DELIVERY_VERDICT_DELIVERED)

    older = Worker(
        foreign_client,  # a client has one worker a queue
        task_queue=orchestrator.queues.orchestrator,
        activities=[deliver_callback],
    )
    async with older:
        calls = [await orchestrator.call() for _ in range(5)]
        for _, attempt in calls:
            await workflows.start(attempt.bind(), document="fail", input_json=json.dumps([PROBLEM]))
        for caller, _ in calls:
            assert (await caller.result())["error"] == "WORKFLOW_EXECUTION_FAILED"
    assert delivered == []


@pytest.mark.parametrize("event", ["cancel", "deadline"])
async def test_success_wins_over_what_comes_with_it(
    orchestrator: Orchestrator, workflows: Workflows, event: str
) -> None:
    caller, attempt = await orchestrator.call()
    timeout = 5 if event == "deadline" else 60
    # The caller is first looked at after ten seconds: an earlier timer is the deadline's.
    bind = attempt.bind(heartbeat_timeout=60)
    handle = await workflows.start(bind, document="hold", timeout=timeout)
    await workflows.running(handle)
    async with orchestrator.stopped():
        if event == "cancel":
            await handle.cancel()
        else:
            await until(handle, TIMER_FIRED)
        await workflows.run_of(handle).signal("finish")
        await until(handle, CHILD_COMPLETED)
    assert (await caller.result())["text"] == '{"answer":42}'
    execution = await workflows.outcome(handle)
    assert phase_of(execution) == "COMPLETED"
    is_late = execution.status.end_time.ToNanoseconds() > execution.status.deadline.ToNanoseconds()
    assert is_late is (event == "deadline")


async def test_a_run_that_ended_oddly_fails_the_execution(workflows: Workflows) -> None:
    execution = await workflows.outcome(await workflows.start(document="fail oddly"))
    assert (phase_of(execution), reason_of(execution)) == ("FAILED", "INTERNAL")
    assert "ServerError" in execution.status.failure.message


@pytest.mark.contract("result or input too large", "workflow")
async def test_an_output_too_large_fails_with_size_and_limit(
    orchestrator: Orchestrator, workflows: Workflows
) -> None:
    caller, attempt = await orchestrator.call()
    handle = await workflows.start(
        attempt.bind(), document="large", input_json=str(limits.MAX_OUTPUT_BYTES)
    )
    result = await caller.result()
    assert (result["error"], result["details"]["reason"]) == (
        "WORKFLOW_EXECUTION_FAILED",
        "TOO_LARGE",
    )
    assert f"the limit is {limits.MAX_OUTPUT_BYTES}" in result["message"]
    assert "the output has 10" in result["message"]
    assert phase_of(await workflows.outcome(handle)) == "FAILED"


async def test_the_largest_output_is_delivered(
    orchestrator: Orchestrator, workflows: Workflows
) -> None:
    caller, attempt = await orchestrator.call()
    letters = limits.MAX_OUTPUT_BYTES - 100
    await workflows.start(attempt.bind(), document="large", input_json=str(letters))
    assert (await caller.result())["letters"] == letters + len('""')


@pytest.mark.contract("result or input too large", "workflow")
async def test_what_is_too_large_to_start_with_fails_with_size_and_limit(
    workflows: Workflows,
) -> None:
    handle = await workflows.start(
        document='"' * limits.MAX_DOCUMENT_BYTES, input_json='"' + "x" * 600_000 + '"'
    )
    execution = await workflows.outcome(handle)
    assert reason_of(execution) == "TOO_LARGE"
    size = 2 * limits.MAX_DOCUMENT_BYTES + 600_026
    assert f"{size} bytes, the limit is {limits.MAX_PAYLOAD_BYTES}" in (
        execution.status.failure.message
    )


async def test_the_output_alone_is_delivered_as_it_is(
    orchestrator: Orchestrator, workflows: Workflows
) -> None:
    caller, attempt = await orchestrator.call()
    handle = await workflows.start(
        attempt.bind(), input_json="[1.50]", callback_payload=CALLBACK_PAYLOAD_OUTPUT
    )
    execution = await workflows.outcome(handle)
    completed = await until(caller, ACTIVITY_COMPLETED)
    (payload,) = completed.activity_task_completed_event_attributes.result.payloads
    assert payload.metadata["encoding"] == b"json/plain"
    assert payload.data.decode() == execution.status.output.json == "[1.5]"


async def test_an_attempt_in_back_off_is_reached_by_id(
    orchestrator: Orchestrator, workflows: Workflows
) -> None:
    orchestrator.caller.failures = 1
    caller, attempt = await orchestrator.call(Call(backoff=30))
    await in_backoff(caller)
    await workflows.start(attempt.bind())
    assert (await caller.result())["phase"] == "COMPLETED"
    by_id = orchestrator.sender.requests[-1]
    assert by_id.caller.activity_id == attempt.activity_id
    assert by_id.workflow_execution.status.callback.fingerprint


async def test_another_request_s_bind_is_ignored(
    orchestrator: Orchestrator, workflows: Workflows
) -> None:
    caller, attempt = await orchestrator.call()
    handle = await workflows.start(attempt.bind(), document="hold")
    await handle.signal("bind", attempt.bind(spec_digest=b"another"))
    await handle.signal("bind", attempt.bind())
    await (await workflows.running(handle)).signal("finish")
    assert (await caller.result())["phase"] == "COMPLETED"
    execution = await workflows.outcome(handle)
    assert execution.status.callback.bindings == 1


async def test_the_query_shows_the_execution_with_all_that_was_asked(
    workflows: Workflows,
) -> None:
    handle = await workflows.start(document="hold", labels={"team": "a"})
    await until(handle, CHILD_STARTED)

    async def is_running() -> bool:
        seen = await handle.query("execution", result_type=WorkflowExecution)
        return bool(seen.status.run.run_id)

    await eventually(is_running)
    seen = await handle.query("execution", result_type=WorkflowExecution)
    assert phase_of(seen) == "RUNNING"
    assert seen.status.HasField("deadline")
    assert seen.status.HasField("start_time")
    assert (seen.spec.workflow.document, seen.spec.labels["team"]) == ("hold", "a")
    without = await handle.query("execution", False, result_type=WorkflowExecution)
    assert without.status == seen.status
    assert (without.spec.workflow.document, without.spec.input_json) == ("", "")
    assert seen.status.run.workflow_id == engine.run_id(handle.id)
    await workflows.run_of(handle).signal("finish")
    assert phase_of(await workflows.outcome(handle)) == "COMPLETED"


@pytest.mark.contract("agent reset; agent continued-as-new", "workflow")
@pytest.mark.parametrize("after", ["the run began", "the first task"])
async def test_a_reset_execution_still_answers(
    orchestrator: Orchestrator, workflows: Workflows, after: str
) -> None:
    caller, attempt = await orchestrator.call()
    handle = await workflows.start(attempt.bind(), document="hold")
    await workflows.running(handle)
    tasks = 2 if after == "the run began" else 1
    finished = await until(handle, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, count=tasks)
    await orchestrator.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=orchestrator.client.namespace,
            workflow_execution=TemporalExecution(
                workflow_id=handle.id, run_id=handle.first_execution_run_id or ""
            ),
            workflow_task_finish_event_id=finished.event_id,
            request_id="reset",
            reason="test",
        )
    )
    newest = orchestrator.client.get_workflow_handle(handle.id)

    async def has_its_run() -> bool:
        seen = await newest.query("execution", result_type=WorkflowExecution)
        return bool(seen.status.run.run_id)

    await eventually(has_its_run)
    await (await workflows.running(newest)).signal("finish")
    async with asyncio.timeout(60):
        assert (await caller.result())["text"] == '{"answer":42}'
    assert (await newest.describe()).run_id != handle.first_execution_run_id
