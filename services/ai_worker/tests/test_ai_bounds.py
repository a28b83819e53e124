"""Responses of providers that are endless, huge once decoded, or made of too many values."""

import asyncio
import gzip
import json
import threading
import time
import zlib
from contextlib import contextmanager
from pathlib import Path
from resource import getpagesize

import pytest
from temporalio.exceptions import ApplicationError

from stigma.agent.v1.agent_execution_pb2 import ROLE_USER, Message, Part
from stigma.contracts.limits import MAX_PROVIDER_RESPONSE_BYTES
from stigma.internal.v1.execution_pb2 import ModelCallRequest

MEGABYTE = 1024 * 1024
GROWTH = 100 * MEGABYTE
MODELS = ("local:gpt-4o", "claude:claude-sonnet-5")


def bomb(size):
    """Return gzip of `size` blanks, itself made without them."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    block = b" " * MEGABYTE
    return b"".join(packer.compress(block) for _ in range(size // MEGABYTE)) + packer.flush()


BOMB = bomb(512 * MEGABYTE)


def request(model):
    task = Message(role=ROLE_USER, parts=[Part(text="Hello")])
    return ModelCallRequest(model=model, step=1, messages=[task])


def completion(text="Hi"):
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    head = {"id": "1", "object": "chat.completion", "created": 1750000000, "model": "gpt-4o"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return head | {"choices": [choice], "usage": usage}


@contextmanager
def memory_watched():
    """Yield a function that returns by how much the process has grown at most."""
    pages = Path("/proc/self/statm")

    def resident():
        return int(pages.read_text().split()[1]) * getpagesize()

    before, stop = resident(), threading.Event()
    most = [before]

    def watch():
        while not stop.wait(0.002):
            most[0] = max(most[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: most[0] - before
    finally:
        stop.set()
        watcher.join()


GZIP = {"content-encoding": "gzip"}
EVENTS = "text/event-stream"
FRAME = b'data: {"frame": "%b"}\n\n' % (b"x" * 600)
HOSTILE = {
    "gzip bomb": ({"raw": BOMB, "headers": GZIP}, "TOO_LARGE"),
    "bomb of a bomb": (
        {"raw": gzip.compress(BOMB), "headers": {"content-encoding": "gzip, gzip"}},
        "PROVIDER_UNAVAILABLE",
    ),
    "endless": ({"raw": b"", "endless": b" " * 65536}, "TOO_LARGE"),
    "endless after gzip's end": (
        {"raw": gzip.compress(b"{}"), "endless": b" " * 65536, "headers": GZIP},
        "TOO_LARGE",
    ),
    "endless line of a stream": (
        {"raw": b"data: ", "endless": b"a" * 65536, "kind": EVENTS},
        "TOO_LARGE",
    ),
    "endless lines of a stream": (
        {"raw": b"", "endless": b"data: x\n" * 8192, "kind": EVENTS},
        "TOO_LARGE",
    ),
    "an event of many lines": (
        {"raw": b"data: x\n" * 100_000 + b"\n", "kind": EVENTS},
        "PROVIDER_UNAVAILABLE",
    ),
    "endless small events": (
        {"raw": b"", "endless": b": ping\n\n" * 8192, "kind": EVENTS},
        "TOO_LARGE",
    ),
    "endless frames of a stream": (
        {"raw": b"", "endless": FRAME * 300, "kind": EVENTS},
        "TOO_LARGE",
    ),
    "many values": ({"raw": b'{"choices":[' + b"{}," * 2_600_000 + b"{}]}"}, "TOO_LARGE"),
    "many strings": ({"raw": b'{"choices":[' + b'"",' * 2_600_000 + b'""]}'}, "TOO_LARGE"),
    "deep": ({"raw": b'{"choices":' + b"[" * 4_000_000}, "TOO_LARGE"),
    "deep within the values": (
        {"raw": b'{"choices":' + b"[" * 9_000 + b"]" * 9_000 + b"}"},
        "PROVIDER_UNAVAILABLE",
    ),
    "bomb of an error": (
        {"raw": BOMB, "headers": GZIP, "status": 503},
        "PROVIDER_UNAVAILABLE",
    ),
    "endless error": (
        {"raw": b"", "endless": b" " * 65536, "status": 400},
        "INVALID_REQUEST",
    ),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_response_is_a_typed_failure_that_costs_little(
    server, new_bench, name, model
):
    reply, reason = HOSTILE[name]
    server.reply(**reply)
    bench = await new_bench(server.openai(), server.anthropic())
    used = time.process_time()
    with memory_watched() as growth:
        with pytest.raises(ApplicationError) as caught:
            await asyncio.wait_for(bench.call(request(model)), 30)
        assert growth() < GROWTH
    assert time.process_time() - used < 20  # the server's share included
    assert caught.value.type == reason
    assert caught.value.non_retryable == (reason != "PROVIDER_UNAVAILABLE")
    assert len(server.requests) == 1


async def test_text_that_memory_holds_four_times_is_no_more(server, new_bench):
    body = json.dumps(completion("a" * 8_000_000 + "😀"), ensure_ascii=False)
    server.reply(raw=body.encode())
    bench = await new_bench(server.openai())
    with memory_watched() as growth:
        with pytest.raises(ApplicationError) as caught:
            await bench.call(request("local:gpt-4o"))
        assert growth() < GROWTH
    assert (caught.value.type, caught.value.non_retryable) == ("TOO_LARGE", True)


async def test_honest_calls_go_on_beside_a_hostile_one(server, other_server, new_bench):
    server.reply(raw=BOMB, headers=GZIP)
    other_server.reply(completion())
    bench = await new_bench(server.openai(), other_server.openai(name="honest"))
    await bench.call(request("honest:gpt-4o"))  # what is slow once
    hostile = [asyncio.ensure_future(bench.call(request("local:gpt-4o"))) for _ in range(4)]
    # By CPU of this thread, whose loop all of them share: by the clock, others may be at work.
    slowest = 0.0
    for _ in range(20):
        began = time.thread_time()
        assert (await bench.call(request("honest:gpt-4o"))).message.parts[0].text == "Hi"
        slowest = max(slowest, time.thread_time() - began)
    for failure in await asyncio.gather(*hostile, return_exceptions=True):
        assert isinstance(failure, ApplicationError)
        assert failure.type == "TOO_LARGE"
    assert slowest < 2


async def test_a_large_answer_within_the_limit_passes(server, new_bench):
    text = 'a "quoted", [bracketed] word\\ ' * 40_000
    body = json.dumps(completion(text)).encode()
    assert len(body) < MAX_PROVIDER_RESPONSE_BYTES
    server.reply(raw=gzip.compress(body), headers=GZIP)
    bench = await new_bench(server.openai())
    assert (await bench.call(request("local:gpt-4o"))).message.parts[0].text == text
    assert server.requests[0].headers["accept-encoding"] == "gzip"
