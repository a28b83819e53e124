"""The callers' part of timelines, against a real Temporal server."""

from __future__ import annotations

import grpc
import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from services.stigma_api.tests.api_server import Api
from services.stigma_api.tests.event_texts import (
    digest_of,
    lines,
    single_entry,
    start,
    steps,
    timeline_with,
)
from services.stigma_api.tests.fake_workflows import timeline_of
from services.stigma_api.tests.waiting_callers import Callers
from stigma.agent.v1.agent_execution_service_pb2 import (
    StartAgentRequest,
)
from stigma.contracts import tokens
from stigma.diagnosis.v1 import diagnosis_service_pb2 as pb
from stigma.internal.v1.execution_pb2 import Bind
from stigma_api.diagnosis.timeline import caller_part
from tests.stack.faults import Fail, FaultProxy

Code = grpc.StatusCode


async def test_the_end_of_a_caller_that_waits_is_told(staged_api: Api, callers: Callers) -> None:
    caller = await callers.start()
    started = await start(staged_api, "", caller)
    await caller.handle.terminate()
    ended = single_entry(
        await timeline_with(staged_api, started.id, "CALLER_ENDED"), pb.TIMELINE_STEP_CALLER_ENDED
    )
    assert (ended.detail, ended.failed, ended.workflow_id) == (
        "terminated",
        True,
        caller.handle.id,
    )


async def test_a_cancelled_caller_goes_on_without_the_outcome(
    staged_api: Api, callers: Callers, client: Client
) -> None:
    caller = await callers.start()
    started = await start(staged_api, "", caller)
    await caller.handle.cancel()
    await timeline_with(staged_api, started.id, "CANCEL_REQUESTED")
    await client.get_async_activity_handle(task_token=caller.token).report_cancellation()
    found = await timeline_with(staged_api, started.id, "RESUMED")
    assert lines(found, pb.TIMELINE_STEP_CANCEL_REQUESTED) == ["the caller cancels its activity"]
    assert lines(found, pb.TIMELINE_STEP_RESUMED) == ["the caller goes on; cancelled"]


async def test_a_failed_activity_of_the_caller_is_told_by_its_class(
    staged_api: Api, callers: Callers, client: Client
) -> None:
    caller = await callers.start()
    started = await start(staged_api, "", caller)
    await client.get_async_activity_handle(task_token=caller.token).fail(
        ApplicationError("a secret prompt", type="AGENT_EXECUTION_FAILED", non_retryable=True)
    )
    found = await timeline_with(staged_api, started.id, "RESUMED")
    assert lines(found, pb.TIMELINE_STEP_RESUMED) == ["the caller goes on; AGENT_EXECUTION_FAILED"]


async def test_a_reset_caller_is_followed_into_its_new_run(
    staged_api: Api, callers: Callers, client: Client
) -> None:
    caller = await callers.start()
    started = await start(staged_api, "", caller)
    again = await callers.reset(caller)
    assert again.info.workflow_run_id != caller.info.workflow_run_id
    await client.get_async_activity_handle(task_token=again.token).complete("x")
    found = await timeline_with(staged_api, started.id, "RESUMED")
    assert steps(found).count("TAKEN") == 1
    assert single_entry(found, pb.TIMELINE_STEP_RESUMED).run_id == again.info.workflow_run_id


async def test_several_attempts_of_a_caller_are_told(
    staged_api: Api, callers: Callers, client: Client
) -> None:
    first = await callers.start()
    request = first.request(agent_id="reviewer", message="", request_id=first.handle.id)
    started = await staged_api.executions.StartAgent(request)
    await staged_api.executions.StartAgent(request)  # a replay of the same attempt
    second = await callers.start(after=first)
    await staged_api.executions.StartAgent(
        second.request(agent_id="reviewer", message="", request_id=first.handle.id)
    )
    handle = client.get_workflow_handle(started.id)
    digest = await digest_of(client, started.id)
    for ignored in (Bind(token=b"garbage", spec_digest=digest), Bind(token=first.token), Bind()):
        await handle.signal("bind", ignored)
    found = await timeline_with(staged_api, started.id, "CALLER_ENDED")
    assert steps(found).count("TAKEN") == 2
    assert [e.fingerprint for e in found.entries if e.step == pb.TIMELINE_STEP_PENDING] == [
        tokens.fingerprint(each.token) for each in (first, second)
    ]
    assert found.caller.run_id == second.info.workflow_run_id


async def test_a_caller_out_of_reach_is_said_and_the_rest_is_told(
    staged_api: Api, callers: Callers, temporal_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = await callers.start()
    started = await start(staged_api, "", caller)
    await timeline_with(staged_api, started.id, "STARTED")
    of_caller = caller.handle.id.encode()
    problems = {
        Code.NOT_FOUND: "is past retention, or never was",
        Code.PERMISSION_DENIED: "may not be looked at from here",
        Code.FAILED_PRECONDITION: "cannot be read: FAILED_PRECONDITION",
    }
    for code, problem in problems.items():
        temporal_proxy.inject(
            "DescribeWorkflowExecution", Fail(code), matches=lambda sent: of_caller in sent
        )
        found = await timeline_of(staged_api, started.id)
        assert found.caller_unavailable == f"workflow {caller.handle.id} {problem}"
        assert steps(found) == ["ACKNOWLEDGED", "PENDING", "STARTED"]
    temporal_proxy.inject(
        "DescribeWorkflowExecution",
        Fail(Code.INTERNAL),
        times=None,
        matches=lambda sent: of_caller in sent,
    )
    assert (
        "Temporal does not answer" in (await timeline_of(staged_api, started.id)).caller_unavailable
    )
    temporal_proxy.clear()
    monkeypatch.setattr(caller_part, "_MAX_EVENTS", 4)
    found = await timeline_of(staged_api, started.id)  # from the end back
    assert (found.caller_unavailable, steps(found)[0]) == ("", "TAKEN")
    await caller.handle.signal("poke")
    monkeypatch.setattr(caller_part, "_MAX_EVENTS", 1)
    found = await timeline_of(staged_api, started.id)
    assert found.caller_unavailable.endswith("has too long a history to be read")


async def test_a_caller_that_declares_nothing_is_known_by_its_token(
    staged_api: Api, callers: Callers
) -> None:
    caller = await callers.start()
    request = StartAgentRequest(agent_id="reviewer", callback_token=caller.token)
    started = await staged_api.executions.StartAgent(request)
    found = await timeline_with(staged_api, started.id, "TAKEN")
    assert found.caller.workflow_id == caller.handle.id
    assert found.caller.run_id == caller.info.workflow_run_id
    assert not found.caller.activity_id  # its own id may be used twice
