"""Answers are streamed: cut ones, stalled ones, ones in one piece, and what they cost."""

import asyncio
import json
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from ai_worker.models.provider import ToolDefinition
from stigma.agent.v1.agent_execution_pb2 import ROLE_USER, Message, Part
from stigma.internal.v1.execution_pb2 import FINISH_REASON_STOP, ModelCallRequest

BOTH = ("local:gpt-4o", "claude:claude-sonnet-5")
TEXT = "Grüße 👋🏽 from far away"


def answer(model, text=TEXT, **changes):
    if model.startswith("local"):
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        head = {"id": "1", "object": "chat.completion", "created": 1, "model": "gpt-4o"}
        usage = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}
        return head | {"choices": [choice], "usage": usage} | changes
    head = {"id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-5"}
    usage = {"input_tokens": 1000, "output_tokens": 200}
    content = [{"type": "text", "text": text}]
    end = {"content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}
    return head | end | changes


def request(model, text="Hello"):
    task = Message(role=ROLE_USER, parts=[Part(text=text)])
    return ModelCallRequest(model=model, step=1, messages=[task])


@pytest.fixture
async def bench(server, new_bench):
    return await new_bench(server.openai(), server.anthropic())


@pytest.mark.parametrize("model", BOTH)
async def test_every_call_asks_for_a_stream(server, bench, model):
    server.reply(answer(model))
    response = await bench.call(request(model))
    (sent,) = server.requests
    assert sent.body["stream"] is True
    if model.startswith("local"):
        assert sent.body["stream_options"] == {"include_usage": True}
    # The server cuts characters in two, where it counts UTF-16.
    assert [part.text for part in response.message.parts] == [TEXT]
    assert response.finish_reason == FINISH_REASON_STOP
    assert (response.usage.input_tokens, response.usage.output_tokens) == (1000, 200)
    assert response.usage.unmeasured_calls == 0


@pytest.mark.parametrize("model", BOTH)
async def test_a_stream_that_is_cut_anywhere_is_no_answer(server, bench, model):
    count = 5 if model.startswith("local") else 6  # events up to the one with the finish reason
    for events in range(count - 1):
        server.reply(answer(model), cut=events)
    server.reply(answer(model))
    for _ in range(count - 1):
        with pytest.raises(ApplicationError) as caught:
            await bench.call(request(model))
        assert (caught.value.type, caught.value.non_retryable) == ("PROVIDER_UNAVAILABLE", False)
    assert [part.text for part in (await bench.call(request(model))).message.parts] == [TEXT]


@pytest.mark.parametrize("model", BOTH)
async def test_a_cut_answer_is_said_to_be_cut(server, bench, model):
    server.reply(answer(model), cut=3)
    with pytest.raises(ApplicationError, match="cut off"):
        await bench.call(request(model))


@pytest.mark.parametrize("model", BOTH)
async def test_a_connection_that_breaks_amid_an_event_is_tried_again(server, bench, model):
    kind = "text/event-stream"
    server.reply(raw=b'data: {"type": "message_start", "choi', kind=kind)
    server.reply(answer(model), headers={"content-length": "100000"}, stall=2)
    with pytest.raises(ApplicationError) as caught:
        await bench.call(request(model))
    assert (caught.value.type, caught.value.non_retryable) == ("PROVIDER_UNAVAILABLE", False)


@pytest.mark.parametrize("model", BOTH)
async def test_an_answer_without_usage_is_counted_by_its_size(server, bench, model):
    if model.startswith("local"):
        server.reply(answer(model, usage=None))
    else:
        server.reply(answer(model, usage={"input_tokens": 0, "output_tokens": 0}))
    response = await bench.call(request(model, "x" * 4000))
    usage = response.usage
    sent = len(json.dumps(server.requests[0].body, separators=(",", ":")))
    assert (usage.unmeasured_calls, usage.model_calls) == (1, 1)
    labels = {"provider": model.partition(":")[0], "model": model.partition(":")[2]}
    assert bench.metric("stigma_model_unmeasured_calls_total", **labels) == 1
    assert abs(usage.input_tokens - sent / 4) < 10
    assert usage.output_tokens == -(-len(TEXT.encode()) // 4)
    if not model.startswith("local"):  # its price is known
        assert usage.cost_usd > 0
        assert usage.unpriced_calls == 0


async def test_cached_tokens_are_counted(server, bench):
    details = {"prompt_tokens_details": {"cached_tokens": 600}}
    used = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}
    server.reply(answer("local:gpt-4o", usage=used | details))
    usage = (await bench.call(request("local:gpt-4o"))).usage
    assert (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens) == (1000, 600, 0)


async def test_tokens_put_into_the_cache_are_counted(server, bench):
    used = {"input_tokens": 100, "output_tokens": 200}
    cached = {"cache_read_input_tokens": 600, "cache_creation_input_tokens": 300}
    model = "claude:claude-sonnet-5"
    server.reply(answer(model, usage=used | cached))
    usage = (await bench.call(request(model))).usage
    assert (usage.input_tokens, usage.output_tokens) == (1000, 200)
    assert (usage.cache_read_tokens, usage.cache_write_tokens) == (600, 300)
    labels = {"provider": "claude", "model": "claude-sonnet-5"}
    name = "stigma_model_cached_tokens_total"
    assert bench.metric(name, **labels, cache="read") == 600
    assert bench.metric(name, **labels, cache="write") == 300


async def test_usage_that_is_repeated_in_every_chunk_counts_once(server, bench):
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}

    def event(delta, tokens, finish_reason=None):
        used = {"prompt_tokens": 1000, "completion_tokens": tokens, "total_tokens": 1000 + tokens}
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return b"data: %b\n\n" % json.dumps(chunk | {"choices": [choice], "usage": used}).encode()

    events = [event({"content": "a"}, tokens) for tokens in (1, 2, 3)]
    server.reply(raw=b"".join([*events, event({}, 4, "stop")]), kind="text/event-stream")
    usage = (await bench.call(request("local:gpt-4o"))).usage
    assert (usage.input_tokens, usage.output_tokens, usage.unmeasured_calls) == (1000, 4, 0)


@pytest.mark.parametrize("model", BOTH)
async def test_a_server_that_does_not_stream_is_understood(server, bench, model):
    body = answer(model)
    call: dict[str, Any]
    if model.startswith("local"):
        call = {"name": "add", "arguments": '{"a": 1}'}
        body["choices"][0]["message"]["tool_calls"] = [{"id": "c", "function": call}] * 2
    else:
        thinking = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
        call = {"type": "tool_use", "id": "c", "name": "add", "input": {"a": 1}}
        body["content"] = [thinking, *body["content"], call, call]
    server.reply(body, whole=True)
    tools = [ToolDefinition("add", "", {"type": "object"})]
    result = await bench.ask(request(model), tools)
    assert result.text == TEXT
    made = [part.tool_call for part in result.message.parts if part.HasField("tool_call")]
    assert [(each.name, json.loads(each.arguments_json)) for each in made] == [
        ("add", {"a": 1})
    ] * 2
    assert (result.usage.input_tokens, result.usage.output_tokens) == (1000, 200)
    assert result.finish_reason == FINISH_REASON_STOP


@pytest.mark.parametrize("model", BOTH)
@pytest.mark.parametrize("body", ["", "upstream", "[]", "{}", "null", '{"content": [7]}'])
async def test_what_is_no_answer_in_one_piece_is_tried_again(server, bench, model, body):
    server.reply(body)
    with pytest.raises(ApplicationError) as caught:
        await bench.call(request(model))
    assert (caught.value.type, caught.value.non_retryable) == ("PROVIDER_UNAVAILABLE", False)


@pytest.mark.parametrize("model", BOTH)
async def test_a_large_answer_in_one_piece_is_not_parsed(server, bench, model):
    server.reply(answer(model, "x" * (2 * 1024 * 1024)), whole=True)
    with pytest.raises(ApplicationError, match="in one piece has over") as caught:
        await bench.call(request(model))
    assert (caught.value.type, caught.value.non_retryable) == ("TOO_LARGE", True)


@pytest.mark.parametrize("model", BOTH)
async def test_an_error_amid_a_stream_has_its_reason(server, bench, model):
    error: dict[str, Any]
    if model.startswith("local"):
        error = {"error": {"message": "secret", "code": "rate_limit_exceeded", "type": "requests"}}
        raw = b"data: %b\n\n" % json.dumps(error).encode()
    else:
        error = {"type": "error", "error": {"type": "rate_limit_error", "message": "secret"}}
        raw = b"event: error\ndata: %b\n\n" % json.dumps(error).encode()
    server.reply(raw=raw, kind="text/event-stream")
    with pytest.raises(ApplicationError) as caught:
        await bench.call(request(model))
    assert (caught.value.type, caught.value.non_retryable) == ("RATE_LIMITED", False)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("model", BOTH)
async def test_a_cancel_amid_an_answer_closes_the_connection(server, bench, model):
    server.reply(answer(model), stall=3)
    running = asyncio.ensure_future(bench.call(request(model)))
    await asyncio.wait_for(server.sent.wait(), 30)
    assert not server.disconnected.is_set()
    bench.environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(server.disconnected.wait(), 30)


@pytest.mark.parametrize("model", BOTH)
async def test_cancelled_calls_leave_no_connection(server, bench, model):
    server.reply(answer(model), stall=3)
    for _ in range(50):
        server.sent.clear()
        running = asyncio.ensure_future(bench.ask(request(model)))
        await asyncio.wait_for(server.sent.wait(), 30)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    while server.connections:
        server.disconnected.clear()
        await asyncio.wait_for(server.disconnected.wait(), 30)
    server.forget_replies()
    server.reply(answer(model))
    assert (await bench.ask(request(model))).text == TEXT  # 4 connections, and none of them is held


async def test_an_answer_that_cannot_be_carried_is_not_read_on(server, bench):
    piece = {"index": 0, "delta": {"content": "x" * 4000}, "finish_reason": None}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    event = b"data: %b\n\n" % json.dumps(chunk | {"choices": [piece]}).encode()
    server.reply(raw=b"", endless=event * 10, kind="text/event-stream")
    with pytest.raises(ApplicationError) as caught:
        await asyncio.wait_for(bench.call(request("local:gpt-4o")), 20)
    assert (caught.value.type, caught.value.non_retryable) == ("TOO_LARGE", True)
    await asyncio.wait_for(server.disconnected.wait(), 30)
