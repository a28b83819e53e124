"""OpenAI-compatible providers against a real local server that speaks /v1/chat/completions."""

import asyncio
import json
import logging
from datetime import timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from ai_worker.models import http_provider
from ai_worker.resources import Prices
from stigma.agent.v1.agent_execution_pb2 import ROLE_MODEL, ROLE_USER, Message, Part
from stigma.agent.v1.agent_pb2 import ModelSettings
from stigma.internal.v1.execution_pb2 import (
    FINISH_REASON_LENGTH,
    FINISH_REASON_STOP,
    ModelCallRequest,
)

PROMPT = "the-very-confidential-prompt"
ANSWER = "the-very-confidential-answer"


def completion(text=ANSWER, **choice):
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1750000000,
        "model": "gpt-4o",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
            | choice
        ],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
    }


def error(message="", **fields):
    return {"error": {"message": f"{message} you sent {PROMPT}", "param": None} | fields}


def request(**fields):
    task = Message(role=ROLE_USER, parts=[Part(text=PROMPT)])
    default: dict[str, Any] = {"model": "local:gpt-4o", "step": 1, "messages": [task]}
    return ModelCallRequest(**(default | fields))


async def refused(bench, call=None):
    with pytest.raises(ApplicationError) as caught:
        await bench.call(call or request())
    failure = caught.value
    assert failure.details == ({"reason": failure.type, "message": failure.message},)
    assert "\n" not in failure.message
    assert failure.__cause__ is None
    assert failure.__suppress_context__
    return failure


async def test_sends_the_conversation_and_returns_the_answer(server, new_bench, key):
    server.reply(completion())
    bench = await new_bench(server.openai())
    said = [
        Message(role=ROLE_USER, parts=[Part(text=PROMPT)]),
        Message(role=ROLE_MODEL, parts=[Part(thinking="foreign"), Part(text="What else?")]),
        Message(role=ROLE_USER, parts=[Part(text="Go on.")]),
    ]
    settings = ModelSettings(temperature=0.5, top_p=0.25, max_tokens=99)
    response = await bench.call(request(messages=said, instructions="Be brief.", settings=settings))
    (sent,) = server.requests
    assert sent.path == "/v1/chat/completions"
    assert sent.headers["authorization"] == f"Bearer {key}"
    assert sent.body["model"] == "gpt-4o"
    assert sent.body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": PROMPT},
        {"role": "assistant", "content": "What else?"},
        {"role": "user", "content": "Go on."},
    ]
    assert (sent.body["temperature"], sent.body["top_p"]) == (0.5, 0.25)
    assert 99 in (sent.body.get("max_tokens"), sent.body.get("max_completion_tokens"))
    assert response.message.role == ROLE_MODEL
    assert [part.text for part in response.message.parts] == [ANSWER]
    assert response.finish_reason == FINISH_REASON_STOP
    assert (response.usage.input_tokens, response.usage.output_tokens) == (1000, 200)
    assert response.usage.model_calls == 1


async def test_prices_come_from_the_offline_list(server, new_bench):
    server.reply(completion())
    bench = await new_bench(server.openai(name="openai", type="openai"))
    response = await bench.call(request(model="openai:gpt-4o"))
    assert response.usage.cost_usd == pytest.approx(0.0045)  # $2.50 and $10 a million
    labels = {"provider": "openai", "model": "gpt-4o"}
    assert bench.metric("stigma_model_cost_usd_total", **labels) == response.usage.cost_usd
    assert bench.metric("stigma_model_calls_total", **labels, outcome="SUCCESS") == 1


PRICES = {"mine": Prices(input=10, output=20, cache_read=1), "free": Prices(input=0, output=0)}


async def test_the_operators_prices_count(server, new_bench):
    answer = completion() | {"model": "mine-2026"}
    answer["usage"]["prompt_tokens_details"] = {"cached_tokens": 400}
    server.reply(answer)
    bench = await new_bench(server.openai(prices=PRICES))
    call = request(model="local:mine", price_required=True)
    usage = (await bench.call(call)).usage
    assert usage.cost_usd == pytest.approx((600 * 10 + 400 * 1 + 200 * 20) / 1e6)
    assert usage.unpriced_calls == 0
    labels = {"provider": "local", "model": "mine"}
    assert bench.metric("stigma_model_cost_usd_total", **labels) == usage.cost_usd
    usage = (await bench.call(request(model="local:free", price_required=True))).usage
    assert (usage.cost_usd, usage.unpriced_calls) == (0, 0)
    failure = await refused(bench, request(model="local:other", price_required=True))
    assert failure.type == "COST_LIMIT"


async def test_the_operators_prices_come_before_the_list(server, new_bench):
    server.reply(completion())
    prices = {"gpt-4o": Prices(input=1, output=1)}
    bench = await new_bench(server.openai(name="openai", type="openai", prices=prices))
    usage = (await bench.call(request(model="openai:gpt-4o"))).usage
    assert usage.cost_usd == pytest.approx(0.0012)


async def test_an_unknown_price_is_not_zero_and_the_label_bounded(server, new_bench, log_text):
    server.reply(completion() | {"model": "my-own-model", "usage": None})
    bench = await new_bench(server.openai())
    response = await bench.call(request(model="local:my-own-model"))
    assert (response.usage.cost_usd, response.usage.unpriced_calls) == (0, 1)
    assert json.loads(log_text().splitlines()[-1])["cost_usd"] is None
    labels = {"provider": "local", "model": "other"}
    assert bench.metric("stigma_model_unpriced_calls_total", **labels) == 1
    assert bench.metric("stigma_model_calls_total", **labels, outcome="SUCCESS") == 1


async def test_with_a_cost_limit_a_model_without_a_price_is_not_called(server, new_bench):
    server.reply(completion())
    bench = await new_bench(server.openai(), server.openai(name="openai", type="openai"))
    failure = await refused(bench, request(model="openai:my-own-model", price_required=True))
    assert (failure.type, failure.non_retryable) == ("COST_LIMIT", True)
    assert "'my-own-model'" in failure.message
    assert server.requests == []
    response = await bench.call(request(model="openai:gpt-4o", price_required=True))
    assert (response.usage.cost_usd > 0, response.usage.unpriced_calls) == (True, 0)


async def test_a_tool_call_nobody_asked_for_is_left_out(server, new_bench):
    call = {"id": "1", "type": "function", "function": {"name": "rm", "arguments": "{}"}}
    message = {"role": "assistant", "content": ANSWER, "tool_calls": [call]}
    server.reply(completion(message=message) | {"model": ""})
    bench = await new_bench(server.openai())
    response = await bench.call(request())
    assert [part.text for part in response.message.parts] == [ANSWER]
    assert (response.usage.cost_usd, response.usage.unpriced_calls) == (0, 1)


async def test_listed_models_only(server, new_bench):
    server.reply(completion())
    bench = await new_bench(server.openai(models=("mine",)))
    failure = await refused(bench)
    assert (failure.type, failure.non_retryable) == ("UNKNOWN_MODEL", True)
    assert server.requests == []
    await bench.call(request(model="local:mine"))
    labels = {"provider": "local", "model": "mine"}
    assert bench.metric("stigma_model_calls_total", **labels, outcome="SUCCESS") == 1


async def test_a_cut_answer_says_so(server, new_bench):
    server.reply(completion(finish_reason="length"))
    bench = await new_bench(server.openai())
    assert (await bench.call(request())).finish_reason == FINISH_REASON_LENGTH


async def test_reasoning_goes_back_to_its_own_provider_only(server, new_bench):
    message = {"role": "assistant", "content": "42", "reasoning_content": "6 times 7"}
    server.reply(completion(message=message))
    bench = await new_bench(server.openai(), server.openai(name="elsewhere"))
    answer = (await bench.call(request())).message
    assert [part.WhichOneof("kind") for part in answer.parts] == ["thinking", "text"]
    assert answer.parts[0].provider_state
    call = request(messages=[*request().messages, answer, *request().messages])
    await bench.call(call)
    assert "6 times 7" in json.dumps(server.requests[1].body)
    call.model = "elsewhere:gpt-4o"
    await bench.call(call)
    assert "6 times 7" not in json.dumps(server.requests[2].body)


@pytest.mark.parametrize(
    ("reply", "reason", "final", "says"),
    [
        ({"status": 429, "body": error(code="rate_limit_exceeded")}, "RATE_LIMITED", False, "429"),
        ({"status": 429, "body": error(code="insufficient_quota")}, "RATE_LIMITED", True, "quota"),
        ({"status": 500, "body": error()}, "PROVIDER_UNAVAILABLE", False, "HTTP 500"),
        ({"status": 503, "body": "upstream"}, "PROVIDER_UNAVAILABLE", False, "HTTP 503"),
        ({"status": 408, "body": error()}, "PROVIDER_UNAVAILABLE", False, "HTTP 408"),
        ({"status": 401, "body": error(code="invalid_api_key")}, "AUTHENTICATION", True, "401"),
        ({"status": 403, "body": error()}, "AUTHENTICATION", True, "HTTP 403"),
        ({"status": 404, "body": error()}, "UNKNOWN_MODEL", True, "HTTP 404"),
        ({"status": 400, "body": error(code="bad_thing")}, "INVALID_REQUEST", True, "bad_thing"),
        ({"status": 400, "body": error(code=f"x {PROMPT}")}, "INVALID_REQUEST", True, "400"),
        ({"status": 413, "body": error()}, "INVALID_REQUEST", True, "HTTP 413"),
        (
            {"status": 400, "body": error(code="context_length_exceeded")},
            "CONTEXT_LENGTH",
            True,
            "context_length_exceeded",
        ),
        (
            {"status": 400, "body": error(code="content_filter")},
            "CONTENT_FILTERED",
            True,
            "content_filter",
        ),
        ({"body": completion(finish_reason="content_filter")}, "CONTENT_FILTERED", True, "filter"),
        ({"status": 405, "body": error()}, "INVALID_REQUEST", True, "HTTP 405"),
        ({"body": f"{{{PROMPT}"}, "PROVIDER_UNAVAILABLE", False, ""),
        ({"body": {"hello": PROMPT}}, "PROVIDER_UNAVAILABLE", False, "cannot be read"),
        ({"status": 302, "headers": {"location": "/x"}}, "PROVIDER_UNAVAILABLE", False, ""),
    ],
)
async def test_errors_are_told_apart(  # noqa: PLR0917
    server, new_bench, reply, reason, final, says
):
    server.reply(**reply)
    bench = await new_bench(server.openai(), server.openai(name="openai", type="openai"))
    for model in ("local:gpt-4o", "openai:gpt-4o"):
        failure = await refused(bench, request(model=model))
        assert (failure.type, failure.non_retryable) == (reason, final)
        assert says in failure.message
        assert PROMPT not in failure.message
    assert len(server.requests) == 2  # one request a call: Temporal retries
    labels = {"provider": "openai", "model": "gpt-4o", "outcome": reason}
    assert bench.metric("stigma_model_calls_total", **labels) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "999999999"}, 3600),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
async def test_waits_as_long_as_the_provider_asks(server, new_bench, headers, seconds):
    server.reply(error(), status=429, headers=headers)
    delay = (await refused(await new_bench(server.openai()))).next_retry_delay
    assert (delay.total_seconds() if delay else None) == seconds


async def test_a_server_that_is_not_there_is_tried_again(server, new_bench):
    gone = server.openai()
    await server.stop()
    failure = await refused(await new_bench(gone))
    assert (failure.type, failure.non_retryable) == ("PROVIDER_UNAVAILABLE", False)
    await server.start()


@pytest.mark.parametrize("by", ["request", "provider"])
async def test_a_slow_answer_is_a_timeout(server, new_bench, by):
    short = timedelta(milliseconds=300)
    server.reply(hang=True)
    bench = await new_bench(server.openai(timeout=short if by == "provider" else timedelta(1)))
    call = request()
    call.settings.request_timeout.FromTimedelta(short if by == "request" else timedelta(2))
    failure = await refused(bench, call)
    assert (failure.type, failure.non_retryable) == ("MODEL_TIMEOUT", False)
    await asyncio.wait_for(server.disconnected.wait(), 30)


async def test_a_cancel_closes_the_connection(server, new_bench):
    server.reply(hang=True)
    bench = await new_bench(server.openai())
    running = asyncio.ensure_future(bench.call(request()))
    await asyncio.wait_for(server.received.wait(), 30)
    assert not server.disconnected.is_set()
    bench.environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(server.disconnected.wait(), 30)


SCHEMA = json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})


async def test_compatible_servers_are_asked_for_output_natively_and_in_words(server, new_bench):
    server.reply(completion('{"n": 1}'))
    bench = await new_bench(server.openai())
    response = await bench.call(request(output_schema=SCHEMA, instructions="Count."))
    (sent,) = server.requests
    assert sent.body["response_format"]["type"] == "json_schema"
    assert sent.body["response_format"]["json_schema"]["schema"]["required"] == ["n"]
    (system,) = [m["content"] for m in sent.body["messages"] if m["role"] == "system"]
    assert system.startswith("Count.\n\n")
    assert "a JSON object that's compatible with this schema" in system
    assert (response.output_json, response.output_error) == ('{"n":1}', "")


async def test_openai_is_asked_for_output_natively_only(server, new_bench):
    server.reply(completion('{"n": 1}'))
    bench = await new_bench(server.openai(name="openai", type="openai"))
    call = request(model="openai:gpt-4o", output_schema=SCHEMA, instructions="Count.")
    assert (await bench.call(call)).output_json == '{"n":1}'
    (sent,) = server.requests
    assert sent.body["response_format"]["json_schema"]["schema"]["required"] == ["n"]
    assert [m["content"] for m in sent.body["messages"] if m["role"] == "system"] == ["Count."]


async def test_a_schema_that_providers_do_not_take_is_asked_for_in_words(server, new_bench):
    server.reply(completion("[1]"))
    bench = await new_bench(server.openai())
    response = await bench.call(request(output_schema='{"type": "array"}'))
    (sent,) = server.requests
    assert "response_format" not in sent.body
    assert "It must satisfy this JSON Schema" in sent.body["messages"][0]["content"]
    assert response.output_json == "[1]"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": True}},
        {"type": "object", "properties": {"a": {"$ref": "#/properties/b"}, "b": {}}},
        {"type": "object", "$defs": {"n": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}},
    ],
)
async def test_unusual_schemas_pass(server, new_bench, schema):
    server.reply(completion("{}"))
    bench = await new_bench(server.openai())
    assert (await bench.call(request(output_schema=json.dumps(schema)))).output_json == "{}"


@pytest.mark.parametrize("answer", [ANSWER, '{"n": "confidential"}'])
async def test_a_bad_answer_is_returned_with_what_is_wrong(server, new_bench, answer):
    server.reply(completion(answer))
    bench = await new_bench(server.openai())
    response = await bench.call(request(output_schema=SCHEMA))
    assert response.output_json == ""
    assert response.output_error.startswith("the output ")
    assert "confidential" not in response.output_error
    assert response.message.parts[0].text == answer


async def test_no_log_holds_a_key_or_content(server, new_bench, log_text, key):
    server.reply(completion())
    server.reply(error(code="x"), status=400)
    server.reply(f"{{{PROMPT}")
    bench = await new_bench(server.openai())
    logging.getLogger("canary").debug("debug is on")
    await bench.call(request(instructions=PROMPT))
    await refused(bench)
    await refused(bench)
    said = log_text()
    assert "debug is on" in said
    assert said.count("model_call_started") == 3
    assert said.count("model_call_completed") == 1
    assert said.count("model_call_failed") == 2
    for secret in (key, PROMPT, ANSWER):
        assert secret not in said


async def test_another_service_gets_nothing_that_is_openais(server, new_bench, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, f"of-{name.lower()}")
    server.reply(completion())
    bench = await new_bench(server.openai(api_key=None))
    await bench.call(request())
    assert "of-openai" not in json.dumps(server.requests[0].headers)


async def test_a_bug_shows_its_class_and_no_more(server, new_bench, monkeypatch):
    def broken(*_args, **_options):
        raise LookupError(PROMPT)

    monkeypatch.setattr(http_provider, "message_history", broken)
    failure = await refused(await new_bench(server.openai()))
    assert (failure.type, failure.non_retryable) == ("INTERNAL", True)
    assert failure.message == "unexpected LookupError"
    assert server.requests == []


def answer_with(**changes):
    return completion() | changes


TOOL = {"id": "1", "type": "function", "function": {"name": "rm", "arguments": "{}"}}
ASKS_FOR_A_TOOL = {"role": "assistant", "content": None, "tool_calls": [TOOL]}


@pytest.mark.parametrize(
    "body",
    [
        answer_with(choices=[]),
        answer_with(choices=None),
        answer_with(choices={}),
        answer_with(choices=[None]),
        answer_with(choices=[{}]),
        answer_with(choices=[{"index": 0, "finish_reason": "stop"}]),
        answer_with(choices="choices"),
        answer_with(usage={"prompt_tokens": -1, "completion_tokens": 1, "total_tokens": 0}),
        answer_with(usage={"prompt_tokens": 1e30, "completion_tokens": 1, "total_tokens": 1}),
        answer_with(usage={"prompt_tokens": 10**30, "completion_tokens": 1, "total_tokens": 1}),
        answer_with(usage={"prompt_tokens": 1.5, "completion_tokens": 1, "total_tokens": 2}),
        answer_with(usage={"prompt_tokens": "many", "completion_tokens": 1, "total_tokens": 2}),
        answer_with(usage=7),
        answer_with(model=7),
        answer_with(created=1e30),
        completion("half \ud83d"),
        completion(message={"role": "assistant", "content": "a", "reasoning_content": "\udc00"}),
        completion(7),
        completion([ANSWER]),
        completion(finish_reason=7),
        [],
        7,
        None,
        "null",
        '"text"',
        "[" * 1_000_000,
        "[" * 9_000 + "]" * 9_000,
        '{"a":' * 3_000 + "1" + "}" * 3_000,
        json.dumps(answer_with(extra="x")).replace('"x"', "[" * 900 + "]" * 900),
    ],
    ids=lambda body: repr(body)[:60],
)
async def test_a_wrong_answer_is_tried_again_if_it_is_not_taken(server, new_bench, body):
    server.reply(body)
    bench = await new_bench(server.openai())
    outcome: Any
    (outcome,) = await asyncio.gather(bench.call(request()), return_exceptions=True)
    if isinstance(outcome, ApplicationError):
        has_many_values = len(json.dumps(body)) > 100_000
        assert outcome.type == ("TOO_LARGE" if has_many_values else "PROVIDER_UNAVAILABLE")
        assert outcome.non_retryable == has_many_values
        assert outcome.message.startswith("the provider")
    else:  # taken where its text and its usage are clear; text that is none is not there
        assert "".join(part.text for part in outcome.message.parts) in (ANSWER, "")
        assert 0 <= outcome.usage.input_tokens <= 1000
    assert len(server.requests) == 1


@pytest.mark.parametrize("schema", ["", SCHEMA])
async def test_a_tool_call_and_nothing_else_is_a_failure(server, new_bench, schema):
    server.reply(completion(message=ASKS_FOR_A_TOOL, finish_reason="tool_calls"))
    failure = await refused(await new_bench(server.openai()), request(output_schema=schema))
    assert (failure.type, failure.non_retryable) == ("INVALID_OUTPUT", True)
    assert "tool" in failure.message
