"""The loop of model calls: their requests, and the ends of the loop."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    RetryState,
    TimeoutType,
)
from temporalio.exceptions import TimeoutError as ActivityTimeoutError

from services.stigma_orchestrator.tests.orchestration import (
    Orchestrator,
    pause,
    phase_of,
    reason_of,
    response,
    until,
)
from stigma.agent.v1.agent_execution_pb2 import ROLE_MODEL, ROLE_USER
from stigma.agent.v1.agent_pb2 import (
    AgentConfig,
    AgentLimits,
    AgentSpec,
    ModelSettings,
    Script,
    ScriptStep,
)
from stigma.contracts import errors, limits
from stigma.contracts.workflows import AgentWorkflow
from stigma.internal.v1.execution_pb2 import FINISH_REASON_LENGTH, ModelCallRequest
from stigma_orchestrator.agents.model_step import classify_failure


def timeout(kind: TimeoutType) -> ActivityTimeoutError:
    return ActivityTimeoutError("", type=kind, last_heartbeat_details=[])


def limited(limits: AgentLimits) -> AgentSpec:
    return AgentSpec(model="local:test", limits=limits)


def texts(request: ModelCallRequest) -> list[str]:
    return ["".join(part.text for part in message.parts) for message in request.messages]


async def test_a_model_is_asked_with_everything_it_needs(orchestrator: Orchestrator) -> None:
    agent = AgentSpec(
        model="local:test",
        instructions="Speak ${LANGUAGE}, not ${OTHER}.",
        env=["LANGUAGE"],
        output_schema='{"type": "object"}',
        model_settings=ModelSettings(temperature=1.0, max_tokens=100),
    )
    await orchestrator.outcome(
        await orchestrator.start(
            agent=agent,
            agent_id="greeter@3",
            input_json='{"who": "you"}',
            env={"LANGUAGE": "Latin", "OTHER": "Greek"},
            config=AgentConfig(model="local:other", temperature=0.0),
        )
    )
    (request,) = orchestrator.model.requests
    assert (request.step, request.model, request.agent_id) == (1, "local:other", "greeter@3")
    assert request.instructions == "Speak Latin, not ${OTHER}."
    assert [part.text for part in request.messages[0].parts] == [
        "What is six times seven?",
        '{"who": "you"}',
    ]
    assert (request.settings.temperature, request.settings.max_tokens) == (0.0, 100)
    assert request.output_schema == '{"type": "object"}'
    assert not request.HasField("script")
    assert not request.message


async def test_the_script_reaches_the_scripted_model_only(orchestrator: Orchestrator) -> None:
    script = Script(steps=[ScriptStep(text="{message}")])
    agent = AgentSpec(model="scripted:demo", script=script)
    await orchestrator.outcome(await orchestrator.start(agent=agent, input_json="[1]"))
    (request,) = orchestrator.model.requests
    assert (request.script, request.message) == (script, "What is six times seven?")
    assert request.input_json == "[1]"


async def test_an_unfinished_answer_is_continued(orchestrator: Orchestrator) -> None:
    orchestrator.model.respond_with(pause("first"), pause("second"), response("done"))
    execution = await orchestrator.outcome(await orchestrator.start())
    assert (execution.status.output.text, execution.status.steps) == ("done", 3)
    assert texts(orchestrator.model.requests[-1])[1:] == ["first", "second"]


async def test_an_invalid_output_is_repaired(orchestrator: Orchestrator) -> None:
    orchestrator.model.respond_with(
        response("{", output_error="not JSON."),
        response('{"a"', output_error="not JSON.", finish_reason=FINISH_REASON_LENGTH),
        response('{"a": 1}', output_json='{"a": 1}'),
    )
    execution = await orchestrator.outcome(await orchestrator.start())
    assert execution.status.output.json == '{"a": 1}'
    _, _, first, _, second = texts(orchestrator.model.requests[-1])
    assert "does not satisfy the output schema: not JSON. Answer again" in first
    assert "cut off at the token limit" in second


async def test_an_output_that_stays_invalid_fails(orchestrator: Orchestrator) -> None:
    orchestrator.model.respond_with(response("{", output_error="not JSON"))
    execution = await orchestrator.outcome(
        await orchestrator.start(agent=limited(AgentLimits(steps=2)))
    )
    assert reason_of(execution) == "INVALID_OUTPUT"
    assert execution.status.failure.message == "no valid output within 2 model calls: not JSON"
    assert execution.status.failure.step == "model_call 2"


async def test_nothing_is_asked_that_no_model_answers(orchestrator: Orchestrator) -> None:
    orchestrator.model.respond_with(response("{", output_error="not JSON"))
    agent = await orchestrator.start(agent=limited(AgentLimits(steps=2)))
    await orchestrator.outcome(agent)
    execution = await agent.query(AgentWorkflow.execution)
    task, first, question, second = execution.status.messages
    assert [message.role for message in (task, first, question, second)] == [
        ROLE_USER,
        ROLE_MODEL,
        ROLE_USER,
        ROLE_MODEL,
    ]


@pytest.mark.parametrize(
    ("bounds", "reason", "steps"),
    [
        (AgentLimits(steps=3), "STEP_LIMIT", 3),
        (AgentLimits(tokens=30), "TOKEN_LIMIT", 2),
        (AgentLimits(cost_usd=0.035), "COST_LIMIT", 4),
    ],
)
async def test_limits_end_the_run(
    orchestrator: Orchestrator, bounds: AgentLimits, reason: str, steps: int
) -> None:
    orchestrator.model.respond_with(pause())
    execution = await orchestrator.outcome(await orchestrator.start(agent=limited(bounds)))
    assert (phase_of(execution), reason_of(execution)) == ("FAILED", reason)
    assert (execution.status.steps, len(orchestrator.model.requests)) == (steps, steps)
    assert execution.status.failure.step == f"model_call {steps}"


async def test_a_cost_that_is_not_known_is_not_within_a_limit(orchestrator: Orchestrator) -> None:
    unpriced = pause()
    unpriced.usage.unpriced_calls = 1
    orchestrator.model.respond_with(unpriced)
    agent = await orchestrator.start(agent=limited(AgentLimits(cost_usd=100)))
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), reason_of(execution)) == ("FAILED", "COST_LIMIT")
    assert execution.status.usage.unpriced_calls == 1
    assert orchestrator.model.requests[0].price_required


async def test_a_request_tightens_a_limit(orchestrator: Orchestrator) -> None:
    orchestrator.model.respond_with(pause())
    config = AgentConfig(limits=AgentLimits(steps=1))
    agent = await orchestrator.start(agent=limited(AgentLimits(steps=3)), config=config)
    assert (await orchestrator.outcome(agent)).status.steps == 1


async def test_an_answer_at_the_limit_counts(orchestrator: Orchestrator) -> None:
    agent = await orchestrator.start(agent=limited(AgentLimits(steps=1, tokens=1, cost_usd=0.001)))
    assert phase_of(await orchestrator.outcome(agent)) == "COMPLETED"


@pytest.mark.contract("result or input too large")
@pytest.mark.parametrize(
    ("letter", "bytes_as_json"),
    [("x", 1), ("ж", 2), ("\x00", 6)],
    ids=["ascii", "cyrillic", "control"],
)
async def test_an_output_that_is_too_large_fails_with_size_and_limit(
    orchestrator: Orchestrator, letter: str, bytes_as_json: int
) -> None:
    orchestrator.model.respond_with(response(letter * (limits.MAX_OUTPUT_BYTES // bytes_as_json)))
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind())
    result = await caller.result()
    assert result["details"]["reason"] == "TOO_LARGE"
    assert f"the limit is {limits.MAX_OUTPUT_BYTES}" in result["message"]
    execution = await orchestrator.outcome(agent)
    assert execution.status.output.truncated
    assert set(execution.status.output.text) == {letter}
    assert len(execution.status.output.text.encode()) <= 64 * 1024


@pytest.mark.contract("result or input too large")
@pytest.mark.parametrize("letter", ["x", "ж"], ids=["ascii", "cyrillic"])
async def test_the_largest_output_arrives(orchestrator: Orchestrator, letter: str) -> None:
    text = letter * ((limits.MAX_OUTPUT_BYTES - 100) // len(letter.encode()))
    orchestrator.model.respond_with(response(text))
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind())
    assert (await caller.result())["letters"] == len(text)
    assert (await orchestrator.outcome(agent)).status.output.text == text


@pytest.mark.contract("result or input too large")
async def test_the_largest_output_stays_readable_when_undeliverable(
    orchestrator: Orchestrator,
) -> None:
    text = "ж" * ((limits.MAX_OUTPUT_BYTES - 100) // 2)
    orchestrator.model.respond_with(response(text))
    caller, attempt = await orchestrator.call()
    foreign = attempt.bind()
    foreign.caller.namespace = "temporal-system"
    execution = await orchestrator.outcome(await orchestrator.start(foreign))
    assert (reason_of(execution), execution.status.output.text) == ("UNDELIVERABLE", text)
    await caller.terminate()


@pytest.mark.contract("result or input too large")
async def test_a_conversation_that_is_too_large_fails_with_size_and_limit(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.model.respond_with(pause("y" * 1_000_000))
    agent = await orchestrator.start(message="x" * 700_000)
    execution = await orchestrator.outcome(agent)
    assert (reason_of(execution), execution.status.steps) == ("TOO_LARGE", 1)
    assert f"the limit is {limits.MAX_PAYLOAD_BYTES}" in execution.status.failure.message


async def test_a_model_call_whose_worker_is_lost_is_repeated(orchestrator: Orchestrator) -> None:
    lost = asyncio.Event()
    play = orchestrator.model.respond

    async def lose_the_first(request: ModelCallRequest) -> object:
        if not lost.is_set():
            lost.set()
            await asyncio.Event().wait()  # no heartbeat comes from a worker that is gone
        return await play(request)

    orchestrator.model.respond = lose_the_first  # type: ignore[method-assign,assignment]
    agent = await orchestrator.start()
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), execution.status.steps) == ("COMPLETED", 1)
    started = await until(agent, EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED)
    assert started.activity_task_started_event_attributes.attempt == 2


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (ApplicationError("odd", type="RATE_LIMITED"), "RATE_LIMITED"),
        (ApplicationError("odd"), "INTERNAL"),
        (timeout(TimeoutType.HEARTBEAT), "INTERNAL"),
        (timeout(TimeoutType.START_TO_CLOSE), "MODEL_TIMEOUT"),
        (timeout(TimeoutType.SCHEDULE_TO_CLOSE), "DEADLINE"),
        (CancelledError("by a worker"), "INTERNAL"),
    ],
)
def test_every_end_of_a_model_call_has_a_reason(cause: BaseException, reason: str) -> None:
    failure_reason, message = classify_failure(failed(cause))
    assert errors.reason_name(failure_reason) == reason
    assert message


def failed(cause: BaseException) -> ActivityError:
    error = ActivityError(
        "Activity task failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="",
        activity_type="call_model",
        activity_id="1",
        retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED,
    )
    error.__cause__ = cause
    return error
