"""Servers that hang hold up their own calls: those of others end meanwhile."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from temporalio.common import RawValue
from temporalio.testing import ActivityEnvironment

from stigma.contracts.payloads import json_payload
from zigflow_worker.activities.call_evaluation import EvaluatedCall
from zigflow_worker.activities.calls import OutgoingCalls
from zigflow_worker.activities.http_call import HttpCall
from zigflow_worker.activities.openapi_call import OpenApiCall
from zigflow_worker.outgoing.client import HttpClient
from zigflow_worker.outgoing.memory import MemoryBudget
from zigflow_worker.outgoing.messages import (
    Authentication,
    HttpSender,
    OutgoingRequest,
    OutgoingResponse,
)
from zigflow_worker.outgoing.name_resolution import NameResolver
from zigflow_worker.outgoing.policy import OutgoingPolicy
from zigflow_worker.outgoing.resources import Resources
from zigflow_worker.rpc import ProtoCompiler

from .http_calls import LOOPBACK, evaluated, make, new_client, unauthenticated
from .web_server import WebServer, raw_server

MIB = 1024 * 1024
LARGE = b"x" * (MIB + MIB // 2)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
MANY = 40
"""Calls that hang: more than there are slots, threads or bytes for."""


class Silence:
    """A server that takes requests and sends the beginning of a response, and no more."""

    def __init__(self, beginning: bytes = b"") -> None:
        self.seen = 0
        self._beginning = beginning

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if b"content-length:" in line]
        if lengths:
            await reader.readexactly(int(lengths[0].split(b":")[1]))
        self.seen += 1
        writer.write(self._beginning)
        await writer.drain()
        await asyncio.Event().wait()


@asynccontextmanager
async def hanging(make_call: Callable[[int], Awaitable[Any]]) -> AsyncIterator[list[Any]]:
    """Make calls that hang, and end them."""
    calls = [asyncio.ensure_future(make_call(number)) for number in range(MANY)]
    try:
        yield calls
        assert not any(call.done() for call in calls)
    finally:
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is inside another one's code has no event
            await asyncio.sleep(0.001)


class Anyone(Authentication):
    """Credentials that everybody has: documents fetched with some are not kept."""

    authorization: dict[str, str] = {}  # noqa: RUF012 - of the protocol

    async def apply(self, request: OutgoingRequest) -> OutgoingRequest:
        return request

    async def answer(
        self, request: OutgoingRequest, response: OutgoingResponse
    ) -> OutgoingRequest | None:
        return None


def authenticated(_call: EvaluatedCall, _sender: HttpSender) -> Authentication:
    return Anyone()


# --- Documents


@pytest.mark.parametrize("document", ["{hang}/api.json", "{web}/refers.json"])
async def test_a_server_of_documents(client: HttpClient, web: WebServer, document: str) -> None:
    """The first of them, or one that it refers to."""
    api = {"openapi": "3.0.0", "paths": {"/x": {"get": {"operationId": "get"}}}}
    web.answer("/api.json", json.dumps(api))
    web.answer("/x", "healthy", media_type="text/plain")
    silence = Silence()
    async with raw_server(silence.talk) as hang:
        # A reference to another host is refused: it is a redirect that leads there.
        web.answer("/hang.json", status_code=302, headers={"location": f"{hang}/more.json"})
        refers = {"openapi": "3.0.0", "paths": {"/x": {"$ref": "hang.json"}}}
        web.answer("/refers.json", json.dumps(refers))
        handler = OpenApiCall(client, Resources(client, None), authenticated)

        def call(endpoint: str) -> Awaitable[Any]:
            arguments = {"document": {"endpoint": endpoint}, "operationId": "get"}
            return handler.call(evaluated(arguments))

        wanted = document.format(hang=hang, web=web.url)
        async with hanging(lambda _: call(wanted)), asyncio.timeout(60):
            await until(lambda: silence.seen == MANY)
            assert (await call(f"{web.url}/api.json")).output == "healthy"


async def test_a_server_of_large_documents(client: HttpClient, web: WebServer) -> None:
    web.answer("/large", LARGE)
    silence = Silence(HEAD + b"Content-Length: 2000000\r\n\r\nx")
    async with raw_server(silence.talk) as hang:
        resources = Resources(client, None)
        async with hanging(lambda number: resources.fetch(f"{hang}/{number}")):
            await until(lambda: silence.seen == MANY)
            async with asyncio.timeout(60):
                assert (await resources.fetch(f"{web.url}/large")).content == LARGE


async def test_a_server_of_protos() -> None:
    compiler = ProtoCompiler()

    async def hang(_uri: str) -> str:
        await asyncio.Event().wait()
        return ""

    async def read(_uri: str) -> str:
        return "message Healthy {}"

    async def compiled(number: int) -> None:
        async with compiler.descriptors(f"{number}.proto", hang):
            raise AssertionError

    async with (
        hanging(compiled),
        asyncio.timeout(60),
        compiler.descriptors("healthy.proto", read) as pool,
    ):
        assert pool.FindMessageTypeByName("Healthy")


# --- Names


@contextmanager
def silent_name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Have look-ups of `*.hang` keep their threads; yields the names looked up."""
    seen: list[str] = []
    end = threading.Event()
    look_up = socket.getaddrinfo

    def hang(host: Any, *arguments: Any, **options: Any) -> Any:
        if str(host).endswith(".hang"):
            seen.append(str(host))
            end.wait()
            raise OSError
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        yield seen
    finally:
        end.set()


async def test_a_name_server(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    web.answer("/", '{"is": "healthy"}', media_type="application/json")
    client = new_client(OutgoingPolicy(LOOPBACK), connect_seconds=60)
    with silent_name_server(monkeypatch) as seen:
        async with hanging(lambda number: make(client, endpoint=f"http://n{number}.hang/")):
            await until(lambda: len(seen) == MANY)
            async with asyncio.timeout(60):
                healthy = await make(client, endpoint=f"http://localhost:{web.port}/")
    assert healthy == {"is": "healthy"}
    await client.close()


async def test_a_name_is_looked_up_once_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who gave up leave one thread behind, not one each."""
    client = new_client(OutgoingPolicy(LOOPBACK), connect_seconds=0.05)
    with silent_name_server(monkeypatch) as seen:
        for _ in range(3):
            with pytest.raises(Exception, match="no connection within the time"):
                await make(client, endpoint="http://one.hang/")
    assert seen == ["one.hang"]
    await client.close()


async def test_names_that_all_have_given_up_hold_up_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolver = NameResolver(threads=1)
    with silent_name_server(monkeypatch) as seen:
        calls = [
            asyncio.ensure_future(resolver.addresses(f"n{number}.hang", 1))
            for number in range(MANY)
        ]
        await until(lambda: seen)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    assert "127.0.0.1" in await resolver.addresses("localhost", 1)
    with pytest.raises(OSError):  # noqa: PT011 - of the silent server, and no cancel
        await resolver.addresses("n1.hang", 1)
    assert not {f"n{number}.hang" for number in range(2, MANY)}.intersection(seen)


# --- Memory


@pytest.mark.parametrize(
    "beginning",
    [b"Content-Length: 2000000\r\n\r\nx", b"Transfer-Encoding: chunked\r\n\r\n100000\r\n" + LARGE],
)
async def test_a_server_that_begins_large_responses(
    client: HttpClient, web: WebServer, beginning: bytes
) -> None:
    budget = MemoryBudget()
    web.answer("/", LARGE, media_type="text/plain")
    silence = Silence(HEAD + beginning[:MIB])

    async def call(endpoint: str) -> Any:
        memory = budget.new_call()
        arguments = {"method": "get", "endpoint": endpoint}
        try:
            done = await HttpCall(client, unauthenticated).call(evaluated(arguments, memory=memory))
        finally:
            memory.release()
        return done.output

    async with raw_server(silence.talk) as hang, hanging(lambda _: call(hang)):
        await until(lambda: silence.seen == MANY and budget.responses.waiting)
        async with asyncio.timeout(60):
            assert await call(web.url) == LARGE.decode()
    assert budget.responses.free == budget.requests.free == 12 * MIB


async def test_a_server_that_takes_large_requests(calls: OutgoingCalls, web: WebServer) -> None:
    web.answer("/", "healthy", media_type="text/plain")
    body = LARGE.decode()[: MIB + 1]
    silence = Silence()

    def call(endpoint: str) -> Awaitable[RawValue]:
        arguments = {"method": "post", "endpoint": endpoint, "body": body}
        request = RawValue(json_payload({"reference": "/do/0/call", "arguments": arguments}))
        return ActivityEnvironment().run(calls.call_http, request)

    requests = calls._memory.requests
    async with raw_server(silence.talk) as hang, hanging(lambda _: call(hang)):
        await until(lambda: requests.waiting == MANY - 6)
        async with asyncio.timeout(60):
            result = await call(web.url)
        assert silence.seen == 6, "half of 12 MiB"
    assert b"healthy" in result.payload.data
    await until(lambda: requests.free == 12 * MIB)
