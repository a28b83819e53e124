"""Tools at the providers: definitions, calls, their ids and results, output beside them."""

import itertools
import json
from typing import Any

import pytest

from ai_worker.calls.failures import CallError
from ai_worker.conversations.toolset import Toolset
from ai_worker.models.provider import ToolDefinition
from stigma.agent.v1.agent_execution_pb2 import (
    ROLE_MODEL,
    ROLE_USER,
    TOOL_OUTCOME_CANCELLED,
    TOOL_OUTCOME_ERROR,
    TOOL_OUTCOME_NOT_RUN,
    TOOL_OUTCOME_OK,
    TOOL_OUTCOME_REFUSED,
    TOOL_OUTCOME_UNKNOWN,
    Message,
    Part,
    ToolCall,
    ToolOutcome,
    ToolResult,
)
from stigma.agent.v1.agent_pb2 import Tool
from stigma.contracts import conversation
from stigma.contracts.tools import OUTPUT_TOOL
from stigma.internal.v1.execution_pb2 import ConverseResponse, ModelCallRequest

OPENAI, ANTHROPIC = "local:gpt-4o", "claude:claude-sonnet-5"
BOTH = (OPENAI, ANTHROPIC)
SCHEMA = {
    "type": "object",
    "properties": {
        "url": {"type": "string", "format": "uri"},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    },
    "required": ["url"],
}
TOOLS = (
    ToolDefinition("fetch", "Fetch a page.", SCHEMA),
    ToolDefinition("now", "", {"type": "object"}),
)
TOOLSET = Toolset([Tool(name="fetch", input_schema=json.dumps(SCHEMA)), Tool(name="now")])


def answer(model, *calls, text="", finish=None, thinking=None):
    """Return an answer with calls, (id, name, text of the arguments)."""
    return (_completion if model.startswith("local") else _message)(calls, text, finish, thinking)


def _completion(calls, text, finish, thinking):
    made = [
        {"id": i, "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, name, arguments in calls
    ]
    message = {"role": "assistant", "content": text or None, "tool_calls": made or None}
    if thinking:
        message["reasoning_content"] = thinking
    choice = {"index": 0, "message": message, "finish_reason": finish or "tool_calls"}
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": "gpt-4o"}
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    return head | {"choices": [choice], "usage": usage}


def _message(calls, text, finish, thinking):
    content: list[Any] = [thinking] if thinking else []
    content += [{"type": "text", "text": text}] if text else []
    content += [{"type": "tool_use", "id": i, "name": name, "input": a} for i, name, a in calls]
    head = {"id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-5"}
    end = {"stop_reason": finish or "tool_use", "stop_sequence": None}
    usage = {"input_tokens": 10, "output_tokens": 2}
    return head | end | {"content": content, "usage": usage}


def request(model, *messages, **fields):
    task = Message(role=ROLE_USER, parts=[Part(text="Go.")])
    return ModelCallRequest(model=model, step=1, messages=[task, *messages], **fields)


def checked(result, step=1):
    """Return an answer as the activity leaves it in history."""
    message, refused, _ = TOOLSET.check(step, result.message)
    return ConverseResponse(message=message, refused=refused)


def results(answered, order=None, **changes):
    """Return an answer and the message of its results, which came in some order."""
    calls = list(conversation.calls(answered))
    done = {
        call.call_id: ToolResult(
            call_id=call.call_id,
            name=call.name,
            outcome=changes.get("outcome", TOOL_OUTCOME_OK),
            content=changes.get("content", f"result of {call.call_id}"),
        )
        for call in (calls if order is None else [calls[n] for n in order])
    }
    return conversation.messages(answered, done)


def sent_calls(body):
    """Return the ids, names and arguments of the calls in a request, an answer a list."""
    if "stream_options" in body:
        return [
            [
                (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
                for call in message["tool_calls"]
            ]
            for message in body["messages"]
            if message.get("tool_calls")
        ]
    return [
        [(b["id"], b["name"], b["input"]) for b in message["content"] if b["type"] == "tool_use"]
        for message in body["messages"]
        if message["role"] == "assistant"
    ]


def sent_results(body):
    """Return the ids and texts of the results in a request, in order."""
    if "stream_options" in body:
        return [(m["tool_call_id"], m["content"]) for m in body["messages"] if m["role"] == "tool"]
    return [
        (block["tool_use_id"], "".join(each["text"] for each in block["content"]))
        for message in body["messages"]
        if message["role"] == "user"
        for block in message["content"]
        if block["type"] == "tool_result"
    ]


@pytest.fixture
async def bench(server, other_server, new_bench):
    return await new_bench(
        server.openai(),
        server.anthropic(),
        other_server.openai(name="else"),
        other_server.anthropic(name="anthropic-too"),
    )


@pytest.mark.parametrize("model", BOTH)
async def test_tools_are_offered_as_they_are(server, bench, model):
    server.reply(answer(model, text="Hi", finish="stop" if model == OPENAI else "end_turn"))
    await bench.ask(request(model), TOOLS)
    sent = server.requests[0].body["tools"]
    if model == OPENAI:
        functions = [tool["function"] for tool in sent]
        assert [f["name"] for f in functions] == ["fetch", "now"]
        assert functions[0]["description"] == "Fetch a page."
        assert functions[0]["parameters"] == SCHEMA
        assert all("strict" not in function for function in functions)
    else:
        assert [tool["name"] for tool in sent] == ["fetch", "now"]
        assert sent[0]["description"] == "Fetch a page."
        assert sent[0]["input_schema"]["properties"] == SCHEMA["properties"]
        assert not any(tool.get("strict") for tool in sent)


@pytest.mark.parametrize("model", BOTH)
@pytest.mark.parametrize(
    "arguments", ["", " ", "null", '{"url": "x" }', '{"url":', "[1]", "\\ud800"]
)
async def test_arguments_are_the_text_that_the_model_gave(server, bench, model, arguments):
    server.reply(answer(model, ("id-1", "fetch", arguments), text="Let me see."))
    result = await bench.ask(request(model), TOOLS)
    text, call = result.message.parts
    assert text.text == "Let me see."
    assert (call.tool_call.name, call.tool_call.arguments_json) == ("fetch", arguments)
    assert call.tool_call.call_id == ""
    assert b"id-1" in call.provider_state


@pytest.mark.parametrize("arguments", ["", "null", "{", "[1]", '{"a":' * 150 + "1" + "}" * 150])
@pytest.mark.parametrize("model", BOTH)
async def test_whatever_the_arguments_the_next_request_is_valid(server, bench, model, arguments):
    server.reply(answer(model, ("id-1", "fetch", arguments), ("id-2", "now", "{}")))
    first = checked(await bench.ask(request(model), TOOLS))
    assert len(first.refused) == 1
    await bench.ask(request(model, *results(first)), TOOLS)
    body = server.requests[1].body
    ((refused, made),) = sent_calls(body)
    assert isinstance(refused[2], dict)
    assert made == ("id-2", "now", {})
    assert [call for call, _ in sent_results(body)] == ["id-1", "id-2"]
    assert sent_results(body)[0][1].startswith("REFUSED: The call was not made")


@pytest.mark.parametrize("model", BOTH)
async def test_a_tool_that_does_not_exist_goes_back_under_a_name_that_providers_take(
    server, bench, model
):
    server.reply(answer(model, ("id-1", "functions.fetch é" + "x" * 90, "{}"), ("id-2", "", "{}")))
    first = checked(await bench.ask(request(model), TOOLS))
    await bench.ask(request(model, *results(first)), TOOLS)
    body = server.requests[1].body
    ((long, empty),) = sent_calls(body)
    assert long[1].startswith("functions_fetch__xxx")
    assert len(long[1]) == 64
    assert empty[1] == "unnamed"
    assert all("The tools are: fetch, now." in text for _, text in sent_results(body))


@pytest.mark.parametrize("model", BOTH)
async def test_a_provider_gets_its_own_ids_back_and_another_gets_ours(
    server, other_server, bench, model
):
    server.reply(answer(model, ("theirs-1", "now", "{}"), ("theirs-2", "now", "{}")))
    first = checked(await bench.ask(request(model), TOOLS), step=7)
    said = results(first)
    await bench.ask(request(model, *said), TOOLS)
    body = server.requests[1].body
    assert [call[0] for call in sent_calls(body)[0]] == ["theirs-1", "theirs-2"]
    assert sent_results(body) == [("theirs-1", "result of 7-1"), ("theirs-2", "result of 7-2")]
    for elsewhere in ("else:gpt-4o", "anthropic-too:claude-sonnet-5"):
        other_server.forget_replies()
        other_server.reply(answer(OPENAI if elsewhere.startswith("else") else ANTHROPIC, text="."))
        if elsewhere.startswith("else"):
            other_server.forget_replies()
            other_server.reply(_completion((), ".", "stop", None))
        await bench.ask(request(elsewhere, *said), TOOLS)
        body = other_server.requests[-1].body
        assert [call[0] for call in sent_calls(body)[0]] == ["7-1", "7-2"]
        assert sent_results(body) == [("7-1", "result of 7-1"), ("7-2", "result of 7-2")]


@pytest.mark.parametrize("model", BOTH)
async def test_equal_ids_of_a_provider_are_different_calls(server, bench, model):
    calls = (("now", "now", "{}"), ("now", "now", "{}"), ("1-2", "now", "{}"))
    server.reply(answer(model, *calls))
    server.reply(answer(model, ("now", "now", "{}"), ("call_0", "now", "{}")))
    first = checked(await bench.ask(request(model), TOOLS), step=1)
    second = checked(await bench.ask(request(model, *results(first)), TOOLS), step=2)
    await bench.ask(request(model, *results(first), *results(second)), TOOLS)
    before, after = (sent_calls(received.body) for received in server.requests[1:])
    assert before[0] == after[0]  # what is in the provider's cache never changes
    ids = [call[0] for calls in after for call in calls]
    assert len(ids) == len(set(ids)) == 5
    assert ids[0] == "now"
    assert ids[4] == "call_0"
    texts = ["1-1", "1-2", "1-3", "2-1", "2-2"]
    expected = [(i, f"result of {call}") for i, call in zip(ids, texts, strict=True)]
    assert sent_results(server.requests[2].body) == expected


@pytest.mark.parametrize(
    "index", [{"index": 0}, {"index": None}, {}], ids=["same", "null", "absent"]
)
async def test_calls_whose_index_a_server_does_not_count_are_different_calls(server, bench, index):
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}

    def event(delta, finish=None):
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: %b\n\n" % json.dumps(chunk | {"choices": [choice]}).encode()

    def call(number, **function):
        return index | {"id": f"id-{number}", "type": "function", "function": function}

    rest = index | {"function": {"arguments": '": 1}'}}
    calls = [call(0, name="now", arguments="{}"), call(1, name="fetch", arguments='{"url')]
    events = [event({"tool_calls": calls}), event({"tool_calls": [rest]}), event({}, "tool_calls")]
    server.reply(raw=b"".join(events), kind="text/event-stream")
    result = await bench.ask(request(OPENAI), TOOLS)
    made = [part.tool_call for part in result.message.parts]
    assert [(each.name, each.arguments_json) for each in made] == [
        ("now", "{}"),
        ("fetch", '{"url": 1}'),
    ]


@pytest.mark.parametrize("model", BOTH)
async def test_the_bytes_of_a_request_do_not_depend_on_which_call_ended_first(server, bench, model):
    server.reply(answer(model, *((f"id-{n}", "now", "{}") for n in range(3))))
    first = checked(await bench.ask(request(model), TOOLS))
    for order in itertools.permutations(range(3)):
        await bench.ask(request(model, *results(first, order)), TOOLS)
    bodies = {json.dumps(received.body) for received in server.requests[1:]}
    assert len(bodies) == 1


@pytest.mark.parametrize("model", BOTH)
async def test_results_in_several_messages_go_back_in_one_and_before_what_else_is_said(
    server, bench, model
):
    server.reply(answer(model, *((f"id-{n}", "now", "{}") for n in range(3))))
    first = checked(await bench.ask(request(model), TOOLS))
    said, told = results(first)
    scattered = [
        Message(role=ROLE_USER, parts=[told.parts[2]]),
        Message(role=ROLE_USER, parts=[Part(text="And hurry."), told.parts[0]]),
        Message(role=ROLE_USER, parts=[told.parts[1]]),
    ]
    await bench.ask(request(model, said, *scattered), TOOLS)
    messages = server.requests[1].body["messages"]
    assert [call for call, _ in sent_results(server.requests[1].body)] == ["id-0", "id-1", "id-2"]
    if model == OPENAI:
        assert [m["role"] for m in messages[-4:]] == ["tool", "tool", "tool", "user"]
    else:
        assert [m["role"] for m in messages] == ["user", "assistant", "user"]
        assert [block["type"] for block in messages[2]["content"]] == [*["tool_result"] * 3, "text"]


@pytest.mark.parametrize("model", BOTH)
async def test_a_call_without_a_result_has_one(server, bench, model):
    server.reply(answer(model, ("id-0", "now", "{}"), ("id-1", "now", "{}")))
    first = checked(await bench.ask(request(model), TOOLS))
    said, told = results(first, [1])
    stray = Part(tool_result=ToolResult(call_id="9-9", name="now", content="stray"))
    told.parts.append(stray)
    await bench.ask(request(model, said, told), TOOLS)
    missing, there = sent_results(server.requests[1].body)
    assert missing == ("id-0", "UNKNOWN: There is no result of this call.")
    assert there == ("id-1", "result of 1-2")


OUTCOMES = {
    TOOL_OUTCOME_OK: "said",
    TOOL_OUTCOME_ERROR: "ERROR: said",
    TOOL_OUTCOME_REFUSED: "REFUSED: said",
    TOOL_OUTCOME_NOT_RUN: "NOT_RUN: said",
    TOOL_OUTCOME_UNKNOWN: "UNKNOWN: said",
    TOOL_OUTCOME_CANCELLED: "CANCELLED: said",
}


@pytest.mark.parametrize("outcome", OUTCOMES, ids=ToolOutcome.Name)
@pytest.mark.parametrize("model", BOTH)
async def test_results_are_text_with_the_outcome_first(server, bench, model, outcome):
    server.reply(answer(model, ("id-0", "now", "{}")))
    first = checked(await bench.ask(request(model), TOOLS))
    await bench.ask(request(model, *results(first, outcome=outcome, content="said")), TOOLS)
    body = server.requests[1].body
    assert sent_results(body) == [("id-0", OUTCOMES[outcome])]
    if model == ANTHROPIC:
        (block,) = body["messages"][2]["content"]
        assert block["is_error"] == (outcome != TOOL_OUTCOME_OK)


@pytest.mark.parametrize("content", ["", " \n"])
@pytest.mark.parametrize("model", BOTH)
async def test_a_blank_result_is_no_blank_text(server, bench, model, content):
    server.reply(answer(model, ("id-0", "now", "{}")))
    first = checked(await bench.ask(request(model), TOOLS))
    await bench.ask(request(model, *results(first, content=content)), TOOLS)
    last = server.requests[1].body["messages"][-1]
    block = last if model == OPENAI else last["content"][0]
    assert block["content"] == ""


FINISH = {
    OPENAI: ["stop", "length", "tool_calls", "content_filter", "function_call", "other", "unknown"],
    ANTHROPIC: ["end_turn", "max_tokens", "tool_use", "stop_sequence", "refusal", "other"],
}


@pytest.mark.parametrize(
    ("model", "finish"), [(model, finish) for model in BOTH for finish in FINISH[model]]
)
async def test_calls_count_whatever_the_finish_reason(server, bench, model, finish):
    server.reply(answer(model, ("id-0", "now", "{}"), finish=finish))
    first = checked(await bench.ask(request(model), TOOLS))
    assert [call.call_id for call in conversation.calls(first)] == ["1-1"]


SIGNED = {"type": "thinking", "thinking": "Hm, é.", "signature": "c2lnbmF0dXJl" * 4}
UNSIGNED = {"type": "thinking", "thinking": "Hm, é.", "signature": ""}


async def test_signed_reasoning_goes_back_byte_by_byte_before_the_call(server, bench):
    server.reply(answer(ANTHROPIC, ("id-0", "now", "{}"), thinking=SIGNED))
    first = checked(await bench.ask(request(ANTHROPIC), TOOLS))
    await bench.ask(request(ANTHROPIC, *results(first)), TOOLS)
    thinking, call = server.requests[1].body["messages"][1]["content"]
    assert thinking == SIGNED
    assert call["id"] == "id-0"


@pytest.mark.parametrize("model", BOTH)
async def test_unsigned_reasoning_goes_back_to_who_wrote_it_only(
    server, other_server, bench, model
):
    server.reply(
        answer(model, ("id-0", "now", "{}"), thinking="Hm, é." if model == OPENAI else UNSIGNED)
    )
    first = checked(await bench.ask(request(model), TOOLS))
    await bench.ask(request(model, *results(first)), TOOLS)
    assert "Hm, é." in json.dumps(server.requests[1].body, ensure_ascii=False)
    other_server.reply(_completion((), ".", "stop", None))
    await bench.ask(request("else:gpt-4o", *results(first)), TOOLS)
    other_server.forget_replies()
    other_server.reply(_message((), ".", "end_turn", None))
    await bench.ask(request("anthropic-too:claude-sonnet-5", *results(first)), TOOLS)
    for received in other_server.requests:
        assert "Hm" not in json.dumps(received.body)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (OPENAI, "Invalid schema for function 'now': In context=(), 'x' is not permitted."),
        (ANTHROPIC, "tools.1.custom.input_schema: JSON schema is invalid."),
    ],
)
async def test_a_refusal_of_a_tool_names_it(server, bench, model, message):
    error = {"type": "invalid_request_error", "message": f"{message} secret"}
    server.reply({"type": "error", "error": error}, status=400)
    with pytest.raises(CallError) as caught:
        await bench.ask(request(model), TOOLS)
    assert caught.value.message.endswith("it names the tool 'now'")
    assert "secret" not in caught.value.message
    assert not caught.value.retryable


@pytest.mark.parametrize("model", BOTH)
async def test_a_refusal_of_something_else_names_no_tool(server, bench, model):
    error = {"type": "invalid_request_error", "message": "now is not the time to fetch"}
    server.reply({"type": "error", "error": error}, status=400)
    with pytest.raises(CallError) as caught:
        await bench.ask(request(model), TOOLS)
    assert "tool" not in caught.value.message


OUTPUT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


async def test_the_output_beside_tools_is_a_call(server, bench):
    server.reply(answer(OPENAI, ("id-0", OUTPUT_TOOL, '{"n": 1}')))
    result = await bench.ask(request(OPENAI, output_schema=json.dumps(OUTPUT)), TOOLS)
    body = server.requests[0].body
    assert [tool["function"]["name"] for tool in body["tools"]] == ["fetch", "now", OUTPUT_TOOL]
    assert body["tools"][2]["function"]["parameters"]["required"] == ["n"]
    assert body["tool_choice"] == "required"
    assert "response_format" not in body
    (part,) = result.message.parts
    assert (part.tool_call.name, part.tool_call.arguments_json) == (OUTPUT_TOOL, '{"n": 1}')


async def test_the_output_beside_tools_is_native_where_a_forced_call_stops_thinking(server, bench):
    server.reply(answer(ANTHROPIC, text='{"n": 1}', finish="end_turn"))
    result = await bench.ask(request(ANTHROPIC, output_schema=json.dumps(OUTPUT)), TOOLS)
    body = server.requests[0].body
    assert [tool["name"] for tool in body["tools"]] == ["fetch", "now"]
    assert body["tool_choice"] == {"type": "auto"}
    assert body["output_config"]["format"]["schema"]["required"] == ["n"]
    assert result.text == '{"n": 1}'


async def test_the_output_beside_tools_is_a_call_where_nothing_else_is_known(server, bench):
    model = "claude:claude-3-haiku-20240307"
    server.reply(answer(ANTHROPIC, ("id-0", OUTPUT_TOOL, '{"n": 1}')))
    result = await bench.ask(request(model, output_schema=json.dumps(OUTPUT)), TOOLS)
    body = server.requests[0].body
    assert [tool["name"] for tool in body["tools"]] == ["fetch", "now", OUTPUT_TOOL]
    assert body["tool_choice"] == {"type": "any"}
    assert result.message.parts[0].tool_call.name == OUTPUT_TOOL


@pytest.mark.parametrize("model", BOTH)
@pytest.mark.parametrize("schema", [{"type": "array"}, {"type": "string"}, {"enum": [1, 2]}])
async def test_an_output_that_is_no_object_is_asked_for_in_words(server, bench, model, schema):
    server.reply(answer(model, text="[1]", finish="stop" if model == OPENAI else "end_turn"))
    await bench.ask(request(model, output_schema=json.dumps(schema)), TOOLS)
    body = server.requests[0].body
    assert len(body["tools"]) == 2
    assert not {"response_format", "output_config"} & set(body)
    assert "It must satisfy this JSON Schema" in json.dumps(body)


async def test_an_output_schema_beyond_a_providers_limits_is_asked_for_in_words(server, bench):
    names = [f"p{number}" for number in range(60)]
    optional = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    schema = {"type": "object", "properties": dict.fromkeys(names, optional)}
    server.reply(answer(ANTHROPIC, text="{}", finish="end_turn"))
    result = await bench.ask(request(ANTHROPIC, output_schema=json.dumps(schema)))
    body = server.requests[0].body
    assert "output_config" not in body
    assert "compatible with this schema" in json.dumps(body["system"])
    assert result.text == "{}"


@pytest.mark.parametrize("model", BOTH)
async def test_a_model_that_was_offered_no_tool_calls_none(server, bench, model):
    server.reply(answer(model, ("id-0", "now", "{}"), text="Hi"))
    result = await bench.ask(request(model))
    assert [part.WhichOneof("kind") for part in result.message.parts] == ["text"]
    server.forget_replies()
    server.reply(answer(model, ("id-0", "now", "{}")))
    with pytest.raises(CallError, match="none was offered"):
        await bench.ask(request(model))


async def test_a_message_of_the_model_without_a_part_for_a_provider_is_left_out(server, bench):
    server.reply(_completion((), ".", "stop", None))
    foreign = Message(role=ROLE_MODEL, parts=[Part(thinking="Hm"), Part(tool_call=ToolCall())])
    foreign.parts.pop()
    more = Message(role=ROLE_USER, parts=[Part(text="Well?")])
    await bench.ask(request(OPENAI, foreign, more))
    assert [m["role"] for m in server.requests[0].body["messages"]] == ["user", "user"]
