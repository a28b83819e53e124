"""`Part.provider_state`: every kind of part comes back, and 0.1.0's states are read."""

import json

import pytest
from pydantic_ai.messages import (
    BinaryImage,
    Citation,
    CompactionPart,
    FilePart,
    NativeToolCallPart,
    NativeToolReturnPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    WebCitationSource,
)

from ai_worker.models import provider_state
from stigma.agent.v1.agent_execution_pb2 import Part, ToolCall

PARTS = [
    TextPart("Hello."),
    TextPart("Hello.", id="msg_1", provider_name="anthropic", provider_details={"a": [1]}),
    ThinkingPart("Hm."),
    ThinkingPart("Hm.", signature="c2ln", provider_name="anthropic"),
    ThinkingPart("", id="redacted_thinking", signature="c2ln", provider_name="anthropic"),
    ToolCallPart("now", '{ "a": 1 }', "call_1"),
    ToolCallPart(
        "now", "{}", "call_1", id="fc_1", provider_name="anthropic", provider_details={"s": "x"}
    ),
    NativeToolCallPart("web_search", {"query": "x"}, "srv_1", provider_name="anthropic"),
    NativeToolReturnPart("web_search", [{"url": "x"}], "srv_1", provider_name="anthropic"),
    FilePart(BinaryImage(b"\x00\xff", media_type="image/png"), provider_name="anthropic"),
    CompactionPart("Summary.", provider_name="anthropic", provider_details={"signature": "c"}),
]


def ours(part):
    """Return a part as the provider's answers make it."""
    state = provider_state.encode(part, "claude")
    match part:
        case TextPart():
            return Part(text=part.content, provider_state=state)
        case ThinkingPart():
            return Part(thinking=part.content, provider_state=state)
        case ToolCallPart():
            arguments = str(part.args)
            call = ToolCall(call_id="1-1", name=part.tool_name, arguments_json=arguments)
            return Part(tool_call=call, provider_state=state)
    return Part(text="", provider_state=state)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.part_kind)
def test_every_kind_of_part_comes_back_to_its_provider(part):
    restored = provider_state.decode(ours(part), "claude", "anthropic")
    if part == ThinkingPart("Hm."):  # it goes back to its provider, so it is that provider's
        part = ThinkingPart("Hm.", provider_name="anthropic")
    assert restored == part


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.part_kind)
def test_another_provider_gets_text_and_calls_only(part):
    restored = provider_state.decode(ours(part), "other", "anthropic")
    match part:
        case TextPart():
            assert restored == TextPart(part.content)
        case ToolCallPart():
            assert restored == ToolCallPart(part.tool_name, part.args, "")
        case _:
            assert restored is None


def test_citations_come_back():
    cited = Citation([WebCitationSource("https://example.com", title="Page")])
    part = TextPart("Hello.", citations=[cited], provider_name="anthropic")
    assert provider_state.decode(ours(part), "claude", "anthropic") == part
    assert provider_state.decode(ours(part), "other", "anthropic") == TextPart("Hello.")


@pytest.mark.parametrize(
    "state",
    [
        b"call_7",
        b"\xff",
        b"[]",
        b"7",
        b"[" * 100_000,
        b'{"provider": "claude", "version": 2}',
        b'{"provider": "claude", "version": 2, "part": 7}',
        b'{"provider": "claude", "version": 2, "part": {"part_kind": "new"}}',
        b'{"provider": "claude", "version": 3, "part": {"part_kind": "text"}}',
        b'{"provider": "claude", "id": 7}',
    ],
    ids=lambda state: state.decode(errors="replace")[:60],
)
def test_a_state_that_cannot_be_read_leaves_the_text(state):
    text = provider_state.decode(Part(text="Hello.", provider_state=state), "claude", "anthropic")
    assert isinstance(text, TextPart)
    assert text.content == "Hello."
    call = ToolCall(name="now", arguments_json="{}")
    part = Part(tool_call=call, provider_state=state)
    assert provider_state.decode(part, "claude", "anthropic") == ToolCallPart("now", "{}", "")


OLD = {"provider": "claude", "id": "msg_1", "details": {"a": 1}}


def test_states_of_0_1_0_are_read():
    state = json.dumps(OLD | {"signature": "c2ln"}).encode()
    part = Part(thinking="Hm.", provider_state=state)
    assert provider_state.decode(part, "claude", "anthropic") == ThinkingPart(
        "Hm.",
        id="msg_1",
        signature="c2ln",
        provider_name="anthropic",
        provider_details={"a": 1},
    )
    part = Part(text="Hello.", provider_state=json.dumps(OLD).encode())
    assert provider_state.decode(part, "claude", "anthropic") == TextPart(
        "Hello.", id="msg_1", provider_name="anthropic", provider_details={"a": 1}
    )


def test_states_of_text_and_reasoning_are_those_of_0_1_0():
    part = ThinkingPart("Hm.", signature="c2ln", provider_name="anthropic")
    assert provider_state.encode(part, "claude") == b'{"provider":"claude","signature":"c2ln"}'
    assert provider_state.encode(TextPart("Hello."), "claude") == b""


def test_a_call_is_in_its_state_by_its_id_only():
    state = json.loads(provider_state.encode(ToolCallPart("now", '{"a": 1}', "call_1"), "claude"))
    assert state == {
        "provider": "claude",
        "version": 2,
        "part": {"part_kind": "tool-call", "tool_call_id": "call_1"},
    }
