"""Anthropic's API against a real local server that speaks /v1/messages."""

import json
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from stigma.agent.v1.agent_execution_pb2 import ROLE_USER, Message, Part
from stigma.internal.v1.execution_pb2 import (
    FINISH_REASON_LENGTH,
    FINISH_REASON_PAUSE,
    FINISH_REASON_STOP,
    ModelCallRequest,
)

MODEL = "claude-sonnet-5"
PROMPT = "the-very-confidential-prompt"
SIGNATURE = "c2lnbmF0dXJl" * 4


def answer(*content, stop_reason="end_turn"):
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": list(content) or [{"type": "text", "text": "Hello."}],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 1000, "output_tokens": 200},
    }


def request(*messages, **fields):
    said = [Message(role=ROLE_USER, parts=[Part(text=PROMPT)]), *messages]
    default: dict[str, Any] = {"model": f"claude:{MODEL}", "step": 1, "messages": said}
    return ModelCallRequest(**(default | fields))


async def test_sends_the_conversation_and_returns_the_answer(server, new_bench, key):
    server.reply(answer())
    bench = await new_bench(server.anthropic())
    response = await bench.call(request(instructions="Be brief."))
    (sent,) = server.requests
    assert sent.path.startswith("/v1/messages")
    assert key in (sent.headers.get("x-api-key"), sent.headers.get("authorization", "")[7:])
    assert sent.body["model"] == MODEL
    assert "Be brief." in json.dumps(sent.body["system"])
    assert [part.text for part in response.message.parts] == ["Hello."]
    assert response.finish_reason == FINISH_REASON_STOP
    assert response.usage.cost_usd == pytest.approx(0.004)  # $2 and $10 a million
    labels = {"provider": "claude", "model": MODEL, "direction": "output"}
    assert bench.metric("stigma_model_tokens_total", **labels) == 200


async def test_a_paused_turn_goes_back_verbatim_and_is_continued(server, new_bench):
    thinking = {"type": "thinking", "thinking": "Let me see.", "signature": SIGNATURE}
    redacted = {"type": "redacted_thinking", "data": "ZW5jcnlwdGVk"}
    text = {"type": "text", "text": "So far"}
    server.reply(answer(thinking, redacted, text, stop_reason="pause_turn"))
    server.reply(answer({"type": "text", "text": ", so good."}))
    bench = await new_bench(server.anthropic())
    paused = await bench.call(request())
    assert paused.finish_reason == FINISH_REASON_PAUSE
    assert [part.WhichOneof("kind") for part in paused.message.parts] == [
        "thinking",
        "thinking",
        "text",
    ]
    ended = await bench.call(request(paused.message))
    assert ended.finish_reason == FINISH_REASON_STOP
    user, model = server.requests[1].body["messages"]
    assert user["role"] == "user"
    assert (model["role"], model["content"]) == ("assistant", [thinking, redacted, text])


async def test_another_provider_does_not_get_the_reasoning(server, new_bench):
    thinking = {"type": "thinking", "thinking": "Let me see.", "signature": SIGNATURE}
    server.reply(answer(thinking, {"type": "text", "text": "So far"}))
    bench = await new_bench(server.anthropic(), server.anthropic(name="other"))
    said = (await bench.call(request())).message
    more = Message(role=ROLE_USER, parts=[Part(text="Go on.")])
    await bench.call(request(said, more, model=f"other:{MODEL}"))
    sent = json.dumps(server.requests[1].body)
    assert "So far" in sent
    assert "Let me see." not in sent
    assert SIGNATURE not in sent


@pytest.mark.parametrize(
    ("status", "kind", "reason", "final"),
    [
        (429, "rate_limit_error", "RATE_LIMITED", False),
        (529, "overloaded_error", "PROVIDER_UNAVAILABLE", False),
        (500, "api_error", "PROVIDER_UNAVAILABLE", False),
        (401, "authentication_error", "AUTHENTICATION", True),
        (404, "not_found_error", "UNKNOWN_MODEL", True),
        (400, "invalid_request_error", "INVALID_REQUEST", True),
    ],
)
async def test_errors_are_told_apart(  # noqa: PLR0917
    server, new_bench, status, kind, reason, final
):
    body = {"type": "error", "error": {"type": kind, "message": f"you sent {PROMPT}"}}
    server.reply(body, status=status, headers={"retry-after": "3"})
    bench = await new_bench(server.anthropic())
    with pytest.raises(ApplicationError, match=kind) as caught:
        await bench.call(request())
    failure = caught.value
    assert (failure.type, failure.non_retryable) == (reason, final)
    assert PROMPT not in failure.message
    assert (failure.next_retry_delay is not None) == (not final)
    assert len(server.requests) == 1


async def test_context_length(server, new_bench):
    message = "prompt is too long: 210000 tokens > 200000 maximum"
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    server.reply(body, status=400)
    bench = await new_bench(server.anthropic())
    with pytest.raises(ApplicationError) as caught:
        await bench.call(request())
    assert (caught.value.type, caught.value.non_retryable) == ("CONTEXT_LENGTH", True)


async def test_refusals_and_cut_answers(server, new_bench):
    server.reply(answer(stop_reason="max_tokens"))
    server.reply(answer(stop_reason="refusal"))
    bench = await new_bench(server.anthropic())
    assert (await bench.call(request())).finish_reason == FINISH_REASON_LENGTH
    with pytest.raises(ApplicationError) as caught:
        await bench.call(request())
    assert caught.value.type == "CONTENT_FILTERED"


async def test_structured_output(server, new_bench):
    server.reply(answer({"type": "text", "text": '{"n": 1}'}))
    bench = await new_bench(server.anthropic())
    schema = json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}})
    response = await bench.call(request(output_schema=schema))
    (sent,) = server.requests
    assert sent.body["output_config"]["format"]["schema"]["properties"]["n"]["type"] == "integer"
    assert "system" not in sent.body
    assert response.output_json == '{"n":1}'


async def test_a_model_without_structured_output_is_asked_in_words(server, new_bench):
    server.reply(answer({"type": "text", "text": "{}"}))
    bench = await new_bench(server.anthropic())
    schema = '{"type": "object"}'
    model = "claude:claude-3-haiku-20240307"
    response = await bench.call(request(model=model, output_schema=schema))
    sent = server.requests[0].body
    assert not {"output_format", "output_config"} & set(sent)
    assert "a JSON object that's compatible with this schema" in json.dumps(sent["system"])
    assert response.output_json == "{}"
