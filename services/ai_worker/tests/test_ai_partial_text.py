"""Text in heartbeats while a model is still writing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from ai_worker.calls.failures import CallError
from ai_worker.models.partial_text import reported_to
from ai_worker.models.scripted import ScriptedProvider
from stigma.agent.v1.agent_execution_pb2 import ROLE_USER, Message, Part
from stigma.agent.v1.agent_pb2 import Script, ScriptCut, ScriptStep
from stigma.contracts.partial_text import PartialText
from stigma.internal.v1.execution_pb2 import ModelCallRequest

TEXT = "Grüße 👋🏽 from far away"
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
OPENAI = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "reasoning_content": "private", "content": TEXT},
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE,
}
ANTHROPIC = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "content": [
        {"type": "thinking", "thinking": "private", "signature": "s"},
        {"type": "text", "text": TEXT},
    ],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 2},
}
ANSWERS = [("local:gpt-4o", OPENAI), ("claude:claude-sonnet-5", ANTHROPIC)]


def request(model: str, *, partial_text: bool = True) -> ModelCallRequest:
    task = Message(role=ROLE_USER, parts=[Part(text="Hello")])
    return ModelCallRequest(model=model, step=3, messages=[task], partial_text=partial_text)


async def first_heartbeat(bench: Any, call: ModelCallRequest) -> Sequence[Any]:
    """The details of a call's first heartbeat; then the call is cancelled."""
    beats: asyncio.Queue[Sequence[Any]] = asyncio.Queue()
    bench.environment.on_heartbeat = lambda *details: beats.put_nowait(details)
    running = asyncio.ensure_future(bench.call(call, attempt=2))
    try:
        return await asyncio.wait_for(beats.get(), 30)
    finally:
        bench.environment.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


@pytest.mark.parametrize(("model", "answer"), ANSWERS)
async def test_the_text_alone_is_told_while_the_stream_goes_on(
    server: Any, new_bench: Any, model: str, answer: Any
) -> None:
    bench = await new_bench(server.openai(), server.anthropic())
    server.reply(answer, stall=-1)
    [details] = await first_heartbeat(bench, request(model))
    assert details == {"step": 3, "attempt": 2, "offset": 0, "text": TEXT}


async def test_half_an_answer_is_told(server: Any, new_bench: Any) -> None:
    bench = await new_bench(server.openai())
    server.reply(OPENAI, stall=5)  # two of the role, two of the reasoning, one of the text
    [details] = await first_heartbeat(bench, request("local:gpt-4o"))
    assert details["text"]
    assert TEXT.startswith(details["text"])
    assert details["text"] != TEXT


async def test_unasked_heartbeats_have_no_details(server: Any, new_bench: Any) -> None:
    bench = await new_bench(server.openai())
    server.reply(OPENAI, stall=-1)
    assert await first_heartbeat(bench, request("local:gpt-4o", partial_text=False)) == ()


def scripted(**step: Any) -> ModelCallRequest:
    script = Script(steps=[ScriptStep(text="one two three four five\nsix seven", **step)])
    return ModelCallRequest(model="scripted:m", step=1, script=script, partial_text=True)


async def test_the_scripted_model_writes_three_words_at_a_time(new_bench: Any) -> None:
    bench = await new_bench()
    call = scripted(chunk_delay=Duration(seconds=3600))
    [details] = await first_heartbeat(bench, call)
    assert details == {"step": 1, "attempt": 2, "offset": 0, "text": "one two three "}


async def test_a_script_in_pieces_is_whole_in_the_end(new_bench: Any) -> None:
    bench = await new_bench()
    call = scripted(chunk_delay=Duration(nanos=1_000_000))
    response = await bench.call(call)
    assert response.message.parts[0].text == "one two three four five\nsix seven"


async def test_a_cut_script_has_written_its_first_half() -> None:
    written = PartialText(1, 1)
    call = scripted(chunk_delay=Duration(nanos=1_000_000), cut=ScriptCut(attempts=1))
    with reported_to(written), pytest.raises(CallError, match="cut off"):
        await ScriptedProvider().call("m", call, 1, ())
    assert written.details()["text"] == "one two three four five\nsix "
    again = PartialText(1, 2)
    with reported_to(again):
        await ScriptedProvider().call("m", call, 2, ())
    assert again.details()["text"] == "one two three four five\nsix seven"
