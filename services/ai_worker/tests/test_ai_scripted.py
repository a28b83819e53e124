"""The scripted model plays what the request says: offline, the same every time."""

import asyncio
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.exceptions import ApplicationError

from stigma.agent.v1.agent_execution_pb2 import ROLE_MODEL, ROLE_USER, Message, Part
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_RATE_LIMITED,
    FAILURE_REASON_UNSPECIFIED,
    Script,
    ScriptFailure,
    ScriptStep,
)
from stigma.internal.v1.execution_pb2 import (
    FINISH_REASON_PAUSE,
    FINISH_REASON_STOP,
    ModelCallRequest,
)


def request(*steps, **fields):
    default: dict[str, Any] = {"model": "scripted:demo", "step": 1, "script": Script(steps=steps)}
    return ModelCallRequest(**(default | fields))


def text(response):
    (part,) = response.message.parts
    return part.text


async def test_echoes_the_message_without_a_script(new_bench):
    bench = await new_bench()
    response = await bench.call(request(message="Hello there"))
    assert text(response) == "Hello there"
    assert response.message.role == ROLE_MODEL
    assert response.finish_reason == FINISH_REASON_STOP


@pytest.mark.parametrize(("step", "said"), [(0, "one"), (1, "one"), (2, "two"), (3, "two")])
async def test_call_n_plays_step_n_and_the_last_repeats(new_bench, step, said):
    bench = await new_bench()
    steps = ScriptStep(text="one"), ScriptStep(text="two")
    assert text(await bench.call(request(*steps, step=step))) == said


async def test_fills_templates_once(new_bench):
    bench = await new_bench()
    step = ScriptStep(text="{step}: {message} on {input}, {other}")
    response = await bench.call(request(step, message="{input}", input_json='{"a":1}', step=7))
    assert text(response) == '7: {input} on {"a":1}, {other}'


async def test_pause_asks_for_another_call(new_bench):
    bench = await new_bench()
    response = await bench.call(request(ScriptStep(text="not yet", pause=True), output_schema="{}"))
    assert response.finish_reason == FINISH_REASON_PAUSE
    assert response.output_error == ""


async def test_counts_words_as_tokens_at_no_cost(new_bench):
    bench = await new_bench()
    said = [
        Message(role=ROLE_USER, parts=[Part(text="four words of task")]),
        Message(role=ROLE_MODEL, parts=[Part(thinking="well now"), Part(text="no")]),
    ]
    usage = (
        await bench.call(request(ScriptStep(text="a b c"), instructions="be brief", messages=said))
    ).usage
    assert (usage.input_tokens, usage.output_tokens, usage.model_calls) == (9, 3, 1)
    assert usage.cost_usd == 0
    labels = {"provider": "scripted", "model": "scripted"}
    assert bench.metric("stigma_model_calls_total", **labels, outcome="SUCCESS") == 1
    assert bench.metric("stigma_model_tokens_total", **labels, direction="input") == 9
    assert bench.metric("stigma_model_tokens_total", **labels, direction="output") == 3


async def test_fails_for_the_first_attempts_only(new_bench):
    bench = await new_bench()
    failure = ScriptFailure(reason=FAILURE_REASON_RATE_LIMITED, message="too\nfast", attempts=2)
    call = request(ScriptStep(text="fine", failure=failure))
    for attempt in (1, 2):
        with pytest.raises(ApplicationError) as caught:
            await bench.call(call, attempt)
        assert caught.value.type == "RATE_LIMITED"
        assert caught.value.details == ({"reason": "RATE_LIMITED", "message": "too fast"},)
        assert not caught.value.non_retryable
    assert text(await bench.call(call, 3)) == "fine"


async def test_zero_attempts_fail_always_and_a_reason_is_internal_by_default(new_bench):
    bench = await new_bench()
    failure = ScriptFailure(reason=FAILURE_REASON_UNSPECIFIED)
    with pytest.raises(ApplicationError, match="the script says so") as caught:
        await bench.call(request(ScriptStep(failure=failure)), attempt=1000)
    assert caught.value.type == "INTERNAL"
    assert caught.value.non_retryable


async def test_thinking_heartbeats_and_is_cut_short_by_a_cancel(new_bench):
    bench = await new_bench()
    beats: asyncio.Queue[None] = asyncio.Queue()
    bench.environment.on_heartbeat = lambda *_: beats.put_nowait(None)
    call = request(ScriptStep(delay=Duration(seconds=3600)))
    running = asyncio.ensure_future(bench.call(call))
    await asyncio.wait_for(beats.get(), 30)
    bench.environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 30)
    labels = {"provider": "scripted", "model": "scripted"}
    assert bench.metric("stigma_model_calls_total", **labels, outcome="CANCELLED") == 1


async def test_thinking_ends_with_the_time_a_call_may_take(new_bench):
    bench = await new_bench()
    call = request(ScriptStep(delay=Duration(seconds=3600)))
    call.settings.request_timeout.FromMilliseconds(50)
    with pytest.raises(ApplicationError, match=r"no answer within 0\.05 s") as caught:
        await bench.call(call)
    assert caught.value.type == "MODEL_TIMEOUT"
    assert not caught.value.non_retryable


@pytest.mark.parametrize("model", ["", "scripted", "scripted:", "nowhere:model", ":model"])
async def test_an_unknown_model_is_final(new_bench, model):
    bench = await new_bench()
    with pytest.raises(ApplicationError, match="no provider is configured") as caught:
        await bench.call(request(model=model))
    assert caught.value.type == "UNKNOWN_MODEL"
    assert caught.value.non_retryable
    labels = {"provider": "unknown", "model": "unknown"}
    assert bench.metric("stigma_model_calls_total", **labels, outcome="UNKNOWN_MODEL") == 1


async def test_an_answer_too_large_to_carry_is_final_and_names_both_sizes(new_bench):
    bench = await new_bench()
    with pytest.raises(ApplicationError, match=r"\d{7} bytes encoded; the limit is 1572864") as e:
        await bench.call(request(ScriptStep(text="ä" * 800_000)))
    assert e.value.type == "TOO_LARGE"
    assert e.value.non_retryable


async def test_the_largest_answers_pass(new_bench):
    bench = await new_bench()
    said = "a" * (1024 * 1024)
    assert text(await bench.call(request(ScriptStep(text=said)))) == said
