"""Agents that a workflow calls: how they end, and what happens on the way."""

from __future__ import annotations

import json

import grpc
from google.protobuf import json_format
from temporalio.api.enums.v1 import EventType

from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    StartAgentRequest,
)
from stigma.agent.v1.agent_pb2 import AgentSpec
from tests.reliability.calls import events
from tests.reliability.scripted import scripted
from tests.stack.faults import Fail, LoseReply
from tools.histories.scenario import Recorder, Scenario

MODEL_CALLED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED

# --- by how they end


async def success(record: Recorder) -> None:
    """An agent answers."""
    await record.call("success", await record.site.callers.worker())


async def failure(record: Recorder) -> None:
    """The model fails for good."""
    call = await record.site.callers.worker(failure="FAILURE_REASON_INVALID_REQUEST")
    await record.call("failure", call)


async def timed_out(record: Recorder) -> None:
    """The deadline passes during a model call."""
    await record.call("timed-out", await record.site.callers.worker(delay=60, timeout=2))


async def cancelled_by_its_caller(record: Recorder) -> None:
    """The calling workflow is cancelled, and stops its agent."""
    call = await record.site.callers.worker(delay=60)
    await record.site.callers.agent_of(call, MODEL_CALLED)
    await call.handle.cancel()
    await record.call("cancelled-by-its-caller", call)


async def cancelled_through_the_api(record: Recorder) -> None:
    """Somebody else cancels the agent."""
    call = await record.site.callers.worker(delay=60)
    agent = await record.site.callers.agent_of(call, MODEL_CALLED)
    cancel = CancelAgentExecutionRequest(id=agent.id, reason="enough")
    await record.stack.executions.CancelAgentExecution(cancel)
    await record.call("cancelled-through-the-api", call)


async def without_a_caller(record: Recorder) -> None:
    """Nobody waits."""
    spec = json_format.ParseDict(scripted(), AgentSpec())
    request = StartAgentRequest(spec=spec, message="nobody waits", request_id="nobody")
    started = await record.stack.executions.StartAgent(request)
    await record.agent("without-a-caller", started.id)


# --- by what happens on the way


async def delivery_retried(record: Recorder) -> None:
    """Longer than the local activity's short try."""
    orchestrator = record.site.temporal_of_orchestrator
    orchestrator.inject("RespondActivityTaskCompleted", Fail(), times=None)
    call = await record.site.callers.worker()
    agent = await record.site.callers.agent_of(call, EventType.EVENT_TYPE_MARKER_RECORDED)
    orchestrator.clear()
    await record.call("delivery-retried", call)
    assert await events(agent, EventType.EVENT_TYPE_MARKER_RECORDED)


async def delivery_refused(record: Recorder) -> None:
    """Temporal refuses the delivery; a late attempt gets the answer."""
    refused = Fail(grpc.StatusCode.PERMISSION_DENIED)
    record.site.temporal_of_orchestrator.inject("RespondActivityTaskCompleted", refused)
    await record.call("delivery-refused", await record.site.callers.worker(heartbeat_timeout=3))


async def caller_watched(record: Recorder) -> None:
    """Long enough to look after the caller, several times, each an attempt of an activity."""
    await record.call(
        "caller-watched", await record.site.callers.worker(delay=5, heartbeat_timeout=4)
    )


async def watch_kept(record: Recorder) -> None:
    """Long enough for a watch that one attempt of an activity keeps."""
    call = await record.site.callers.worker(delay=13, heartbeat_timeout=60)
    await record.call("watch-kept", call)


async def bound_twice(record: Recorder) -> None:
    """Two attempts of the caller bind."""
    record.site.api.inject("StartAgent", LoseReply())
    await record.call("bound-twice", await record.site.callers.worker(delay=4))


async def continued_as_new(record: Recorder) -> None:
    """The agent goes on in another run."""
    steps = [{"text": f"step {number}", "pause": True} for number in range(1, 13)]
    script = {"steps": [*steps, {"text": "done"}]}
    await record.call("continued-as-new", await record.site.callers.worker(script=script))
    assert record.runs("continued-as-new.agent") > 1


async def output_repaired(record: Recorder) -> None:
    """The model's first answer does not satisfy the schema."""
    schema = {"type": "object", "required": ["verdict"]}
    script = {"steps": [{"text": "it is good"}, {"text": '{"verdict": "good"}'}]}
    call = await record.site.callers.worker(script=script, outputSchema=json.dumps(schema))
    await record.call("output-repaired", call)


async def model_call_retried(record: Recorder) -> None:
    """The provider fails once."""
    once = {"reason": "FAILURE_REASON_PROVIDER_UNAVAILABLE", "message": "busy", "attempts": 1}
    script = {"steps": [{"text": "after all", "failure": once}]}
    await record.call("model-call-retried", await record.site.callers.worker(script=script))


async def step_limit(record: Recorder) -> None:
    """An agent without tools has no answer within its steps."""
    script = {"steps": [{"text": "…", "pause": True}]}
    call = await record.site.callers.worker(script=script, limits={"steps": 2})
    await record.call("step-limit", call)


SCENARIOS = (
    Scenario(success, ("agent", "caller")),
    Scenario(failure, ("agent failed",)),
    Scenario(timed_out, ("agent timed out",)),
    Scenario(cancelled_by_its_caller, ("agent cancelled",)),
    Scenario(cancelled_through_the_api, ("agent cancelled",)),
    Scenario(without_a_caller, ("agent without a caller",)),
    Scenario(delivery_retried, ("delivery retried",), alone=True),
    Scenario(delivery_refused, ("delivery retried",), alone=True),
    Scenario(caller_watched, ("watch of a caller",)),
    Scenario(watch_kept, ("watch that is kept",)),
    Scenario(bound_twice, ("bound twice",), alone=True),
    Scenario(continued_as_new, ("agent continued as new",)),
    Scenario(output_repaired, ("structured output",)),
    Scenario(model_call_retried, ("model call retried",)),
    Scenario(step_limit, ("limit: steps",)),
)
