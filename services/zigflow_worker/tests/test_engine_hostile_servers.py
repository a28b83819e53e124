"""Servers that send more than a response, or never the end of one."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import grpc.aio
import httpcore2
import pytest
from starlette.responses import Response

from zigflow_worker.errors import COMMUNICATION, CONFIGURATION, ErrorType, WorkflowError
from zigflow_worker.outgoing import client as client_module
from zigflow_worker.outgoing.client import HttpClient
from zigflow_worker.outgoing.memory import MemoryBudget
from zigflow_worker.rpc import ProtoCompiler, RpcClient, Target, find_method

from .grpc_servers import Loopback, compiled
from .http_calls import make, new_client
from .openapi_documents import request_of
from .token_server import TokenCaller
from .web_server import raw_server

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
FINE = HEAD + b"Content-Length: 4\r\n\r\nfine"


@asynccontextmanager
async def sending(*responses: bytes, then: bytes = b"") -> AsyncIterator[str]:
    """Answer each request with the next response, and the last one with more, without an end."""
    left = list(responses)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while left:
            try:
                await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            writer.write(left.pop(0))
            await writer.drain()
        while then:
            writer.write(then)
            await writer.drain()
        await asyncio.Event().wait()

    async with raw_server(talk) as url:
        yield url


async def fault(client: HttpClient, url: str, **arguments: Any) -> dict[str, Any]:
    with pytest.raises(WorkflowError) as raised:
        async with asyncio.timeout(60):
            await make(client, endpoint=url, **arguments)
    return raised.value.problem


# --- Without an end


@pytest.mark.parametrize(
    ("start", "then"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000),
        (CHUNKED, b"1;" + b"a" * 50_000 + b"\r\nx\r\n"),
        (CHUNKED, b"1\r\nx\r\n" * 10_000),
        (CHUNKED + b"0\r\n", b"X: y\r\n" * 1000),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
    ],
    ids=["continue", "hints", "extensions", "chunks", "trailers", "headers"],
)
async def test_what_is_no_body_has_an_end(client: HttpClient, start: bytes, then: bytes) -> None:
    began = time.process_time()
    async with sending(start, then=then) as url:
        problem = await fault(client, url)
    assert (problem["type"], problem["status"]) == (COMMUNICATION.uri, 500)
    assert time.process_time() - began < 8, "of some seconds where it counts nowhere"


async def test_interim_responses_are_passed_over(client: HttpClient) -> None:
    async with sending(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100 + FINE) as url:
        assert await make(client, endpoint=url) == "fine"


async def test_a_switch_of_protocols_that_nobody_asked_for(client: HttpClient) -> None:
    async with sending(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nhello") as url:
        assert "no HTTP" in (await fault(client, url))["detail"]


@pytest.mark.parametrize(
    ("method", "first"),
    [("get", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nhello"), ("connect", FINE)],
    ids=["upgrade", "connect"],
)
async def test_a_switch_of_protocols_keeps_no_connection(method: str, first: bytes) -> None:
    client = new_client(connections=1)
    async with sending(first, FINE) as url, asyncio.timeout(60):
        with suppress(WorkflowError):
            await make(client, method, endpoint=url, headers={"upgrade": "x"})
        async with asyncio.timeout(60):
            assert await make(client, endpoint=url) == "fine"
    await client.close()


# --- More than a response


@pytest.mark.parametrize(
    ("method", "first"),
    [
        ("get", FINE + FINE.replace(b"fine", b"evil")),
        ("get", FINE + b"more"),
        ("get", CHUNKED + b"4\r\nfine\r\n0\r\n\r\n" + FINE.replace(b"fine", b"evil")),
        ("get", b"HTTP/1.1 204 No Content\r\n\r\nbody"),
        ("get", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nbody"),
        ("head", FINE),
    ],
    ids=["response", "garbage", "chunked", "204", "304", "head"],
)
async def test_the_next_call_gets_nothing_of_it(
    client: HttpClient, method: str, first: bytes
) -> None:
    async with sending(first, FINE) as url:
        assert await make(client, method, endpoint=url, redirect=True) in ("fine", None, "")
        assert await make(client, endpoint=url) == "fine"


async def test_a_connection_is_used_again(client: HttpClient) -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            try:
                await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            writer.write(FINE)

    async with raw_server(talk) as url:
        for _ in range(3):
            assert await make(client, endpoint=url) == "fine"
    assert connections == 1


def test_a_library_built_in_another_way_costs_connections_and_no_calls() -> None:
    assert client_module._is_more_than_one(httpcore2.Response(200))


# --- Whose fault it is


async def test_a_redirect_to_a_url_with_credentials_is_the_servers_fault(
    client: HttpClient,
) -> None:
    head = (
        b"HTTP/1.1 302 Found\r\nLocation: http://u:s3cret@127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
    )
    async with sending(head) as url:
        problem = await fault(client, url, redirect=True)
    assert (problem["type"], problem["status"]) == (COMMUNICATION.uri, 500)
    assert problem["detail"] == "a redirect leads to a URL with credentials"


async def test_metadata_beyond_the_limit_is_no_status_of_the_server() -> None:
    async def answer(_request: bytes, context: Any) -> bytes:
        await context.send_initial_metadata((("a", "x" * 100_000),))
        return b""

    handlers: dict[str, Any] = {"Do": grpc.unary_unary_rpc_method_handler(answer)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("Service", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await assert_rpc_fails(port, 500, "the metadata is larger than the limit")
    await server.stop(None)


async def assert_rpc_fails(port: int, status: int, detail: str) -> None:
    async def read(_uri: str) -> str:
        return 'syntax = "proto3"; message M {} service Service { rpc Do(M) returns (M); }'

    method = find_method(await compiled(ProtoCompiler(), "m.proto", read), "Service", "Do")
    client = RpcClient(policy=Loopback(port), connect_seconds=30)
    with pytest.raises(WorkflowError) as raised:
        async with client.connect(Target.of("h", 1)) as connection:
            await connection.call(method, [b""], (), MemoryBudget().new_call())
    problem = raised.value.problem
    assert (problem["type"], problem["status"]) == (COMMUNICATION.uri, status)
    assert detail in str(problem["detail"])
    client.close()


SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
GOAWAY = b"\0\0\x08\x07\0\0\0\0\0" + bytes(8)


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (SETTINGS + GOAWAY, "UNAVAILABLE"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "UNAVAILABLE"),
        (b"\xff" * 1000, "UNAVAILABLE"),
    ],
    ids=["goaway", "http/1", "garbage"],
)
async def test_servers_of_grpc_that_are_none(content: bytes, detail: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        while await reader.read(1000):
            pass

    async with raw_server(talk) as url:
        await assert_rpc_fails(int(url.rpartition(":")[2]), 503, detail)


# --- Tokens and documents


@pytest.mark.parametrize("token", ["x" * 65_537, "a\nb", ""])
async def test_a_token_that_no_header_carries(token_caller: TokenCaller, token: str) -> None:
    token_caller.server.extra = {"access_token": token}
    kind, status, detail = await token_caller.problem()
    assert (kind, status) == ("authentication", 401)
    assert detail.endswith("gave no access token")


@pytest.mark.parametrize("refresh_token", ['"\\ud800"', f'"{"x" * 65_537}"', '"a\\nb"', "5"])
async def test_a_refresh_token_that_is_none_is_not_sent(
    token_caller: TokenCaller, refresh_token: str
) -> None:
    answer = f'{{"access_token": "t", "refresh_token": {refresh_token}}}'
    token_caller.server.answer = lambda _: Response(answer)
    more: dict[str, Any] = {"grant": "refresh_token", "subject": {"token": "given", "type": "t"}}
    for _ in range(2):
        await token_caller.token(**more)
    assert [each["refresh_token"] for each in token_caller.server.parameters] == ["given"] * 2


def test_references_are_not_followed_without_an_end() -> None:
    chain = {str(number): {"$ref": f"#/x/{number + 1}"} for number in range(48)}
    paths = {f"/{number}": {"$ref": "#/x/0"} for number in range(5000)}
    document = {"openapi": "3.0.0", "paths": paths, "x": {**chain, "48": {}}}
    assert_misconfigured(document, "more than 100000 references", CONFIGURATION)


def assert_misconfigured(document: Any, detail: str, kind: ErrorType) -> None:
    with pytest.raises(WorkflowError) as raised:
        request_of(json.dumps(document))
    assert raised.value.type == kind.uri
    assert detail in str(raised.value.problem["detail"])
