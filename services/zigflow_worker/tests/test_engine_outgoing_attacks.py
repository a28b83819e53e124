"""Servers, documents and data that mean ill, and the client of calls."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence
from typing import Any

import pytest

from services.zigflow_worker.tests.http_calls import LOOPBACK, make, new_client
from services.zigflow_worker.tests.web_server import WebServer, raw_server, web_server
from zigflow_worker.errors import (
    AUTHORIZATION,
    COMMUNICATION,
    CONFIGURATION,
    ErrorType,
    WorkflowError,
)
from zigflow_worker.outgoing.client import HttpClient
from zigflow_worker.outgoing.policy import OutgoingPolicy

METADATA = "http://169.254.169.254/latest/meta-data/"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


async def assert_fails(
    client: HttpClient, kind: ErrorType, detail: str, **arguments: Any
) -> dict[str, Any]:
    """Check that a call fails as it must, and return its error."""
    with pytest.raises(WorkflowError) as failure:
        await make(client, **arguments)
    problem: dict[str, Any] = failure.value.problem
    assert (problem["type"], problem["status"]) == (kind.uri, kind.status)
    assert detail in problem["detail"]
    return problem


async def read_request(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"\r\n\r\n")


# --- Where calls may go


async def test_a_redirect_to_metadata_is_refused(client: HttpClient, web: WebServer) -> None:
    web.answer("/", status_code=302, headers={"location": METADATA})
    await assert_fails(client, AUTHORIZATION, "policy", endpoint=web.url, redirect=True)


async def test_a_redirect_to_a_name_of_metadata_is_refused(web: WebServer) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["169.254.169.254"]

    client = new_client(OutgoingPolicy(LOOPBACK, resolve=resolve))
    web.answer("/", status_code=302, headers={"location": "http://harmless.example/"})
    await assert_fails(client, AUTHORIZATION, "policy", endpoint=web.url, redirect=True)
    await client.close()


async def test_dns_that_changes_between_check_and_connect(web: WebServer) -> None:
    """The name is resolved once: a second look-up would lead to this machine."""
    answers = iter([["203.0.113.1"], ["127.0.0.1"]])
    asked = 0

    async def resolve(host: str, port: int) -> Sequence[str]:
        nonlocal asked
        asked += 1
        return next(answers)

    client = new_client(OutgoingPolicy(resolve=resolve), connect_seconds=0.2)
    await assert_fails(
        client, COMMUNICATION, "no connection", endpoint=f"http://rebinding.example:{web.port}/"
    )
    assert asked == 1
    await assert_fails(
        client, AUTHORIZATION, "policy", endpoint=f"http://rebinding.example:{web.port}/"
    )
    assert not web.seen
    await client.close()


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "localhost",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0.0.0.0",
            "[::1]",
            "[::]",
        ),
        *("[::ffff:127.0.0.1]", "[::ffff:169.254.169.254]", "[fe80::1]", "224.0.0.1", "[ff02::1]"),
        *("169.254.169.254", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "255.255.255.255"),
        *("[64:ff9b:1::7f00:1]", "[::ffff:0:127.0.0.1]", "[::127.0.0.1]"),
        "[2001:0:a00:1:0:0:80ff:fffe]",
    ],
)
async def test_this_machine_is_refused_however_it_is_written(web: WebServer, host: str) -> None:
    client = new_client(OutgoingPolicy())
    endpoint = f"http://{host}:{web.port}/"
    await assert_fails(client, AUTHORIZATION, "policy", endpoint=endpoint)
    assert not web.seen
    await client.close()


@pytest.mark.parametrize("endpoint", ["file:///etc/passwd", "ftp://x/y", "gopher://x", "x", "//x"])
async def test_endpoints_that_are_no_web_pages(client: HttpClient, endpoint: str) -> None:
    await assert_fails(client, CONFIGURATION, "not an http", endpoint=endpoint)


async def test_a_port_that_is_none(client: HttpClient) -> None:
    endpoint = "http://127.0.0.1:65536/"
    await assert_fails(client, CONFIGURATION, "port beyond 65535", endpoint=endpoint)


async def test_credentials_in_a_url_are_refused(client: HttpClient) -> None:
    problem = await assert_fails(
        client, CONFIGURATION, "'authentication'", endpoint="http://user:s3cret@127.0.0.1/"
    )
    assert "s3cret" not in problem["detail"]


# --- What may be sent


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "\x7f", "\ud800"])
async def test_header_injection(client: HttpClient, web: WebServer, value: str) -> None:
    problem = await assert_fails(
        client, CONFIGURATION, "'X-Name'", endpoint=web.url, headers={"X-Name": value}
    )
    assert value not in problem["detail"]
    assert not web.seen


@pytest.mark.parametrize("name", ["X\r\nY", "X Y", "", "X:", "Ü"])
async def test_header_names(client: HttpClient, web: WebServer, name: str) -> None:
    await assert_fails(client, CONFIGURATION, "name", endpoint=web.url, headers={name: "1"})
    assert not web.seen


async def test_framing_headers_are_the_clients_own(client: HttpClient, web: WebServer) -> None:
    web.answer("/")
    headers = {"Transfer-Encoding": "chunked", "Content-Length": "3", "Accept-Encoding": "br"}
    await make(client, "post", endpoint=web.url, headers=headers, body={"a": 1})
    [seen] = web.seen
    assert seen.body == b'{"a":1}'
    assert seen.headers["accept-encoding"] == "gzip"
    assert "transfer-encoding" not in seen.headers


# --- What may come back


async def test_a_body_of_10_mb_is_refused(client: HttpClient, web: WebServer) -> None:
    web.answer("/", b"x" * 10_000_000)
    await assert_fails(client, COMMUNICATION, "larger than 2097152 bytes", endpoint=web.url)


async def test_an_endless_body_is_cut_off(client: HttpClient) -> None:
    cut = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(HEAD + b"\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        finally:
            cut.set()

    async with raw_server(talk) as url:
        await assert_fails(client, COMMUNICATION, "larger than", endpoint=url)
        async with asyncio.timeout(60):
            await cut.wait()


async def test_a_gzip_bomb_is_cut_off(client: HttpClient, web: WebServer) -> None:
    bomb = gzip.compress(bytes(200 * 1024 * 1024), 1)
    assert len(bomb) < 2 * 1024 * 1024
    web.answer("/", bomb, headers={"content-encoding": "gzip"})
    await assert_fails(client, COMMUNICATION, "larger than 2097152 bytes", endpoint=web.url)


@pytest.mark.parametrize(
    ("encoding", "body", "detail"),
    [
        ("br", b"x", "was not asked for"),
        ("gzip, gzip", b"x", "was not asked for"),
        ("gzip", b"not gzip", "not gzip"),
        ("gzip", gzip.compress(b"x" * 1000)[:-9], "cut off"),
        ("gzip", gzip.compress(b"x") + gzip.compress(b"x")[:-1], "cut off"),
        ("gzip", gzip.compress(b"x") + b"more", "not gzip"),
    ],
)
async def test_encodings_that_are_none(
    client: HttpClient, web: WebServer, encoding: str, body: bytes, detail: str
) -> None:
    web.answer("/", body, headers={"content-encoding": encoding})
    await assert_fails(client, COMMUNICATION, detail, endpoint=web.url)


async def test_a_gzip_body_is_decoded(client: HttpClient, web: WebServer) -> None:
    headers = {"content-encoding": "gzip"}
    web.answer("/", gzip.compress(b'"packed"'), headers=headers, media_type="application/json")
    assert await make(client, endpoint=web.url) == "packed"


async def test_a_gzip_body_of_several_members_is_whole(client: HttpClient, web: WebServer) -> None:
    headers = {"content-encoding": "gzip"}
    members = gzip.compress(b"a" * 200_000) + gzip.compress(b"b")
    web.answer("/", members, headers=headers, media_type="text/plain")
    assert await make(client, endpoint=web.url) == "a" * 200_000 + "b"


async def test_headers_that_are_too_large(client: HttpClient, web: WebServer) -> None:
    web.answer("/", headers={f"x-{number}": "v" * 1000 for number in range(70)})
    await assert_fails(client, COMMUNICATION, "headers are larger than", endpoint=web.url)


@pytest.mark.parametrize(
    "response",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"",
        HEAD + b"Content-Length: 100\r\n\r\nshort",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nBad\0Header: 1\r\n\r\n",
    ],
)
async def test_responses_that_are_none(client: HttpClient, response: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response)

    async with raw_server(talk) as url:
        await assert_fails(client, COMMUNICATION, url.removeprefix("http://"), endpoint=url)


async def test_a_closed_port(client: HttpClient) -> None:
    async with web_server() as gone:
        pass
    await assert_fails(client, COMMUNICATION, "no connection", endpoint=f"{gone.url}/?token=abc")


async def test_a_host_without_an_address() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise OSError

    client = new_client(OutgoingPolicy(resolve=resolve))
    await assert_fails(client, COMMUNICATION, "no address", endpoint="http://nowhere.example/")
    await client.close()


async def test_a_host_that_takes_no_connection() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    client = new_client(OutgoingPolicy(resolve=resolve), connect_seconds=0.05)
    await assert_fails(client, COMMUNICATION, "the time for it", endpoint="http://slow.example/")
    await client.close()


# --- What errors say


async def test_no_token_is_in_the_text_of_an_error(client: HttpClient) -> None:
    """Neither from the URL nor from a header or body, whatever goes wrong."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"t0ken-in-the-response\r\n")

    async with raw_server(talk) as url:
        problem = await assert_fails(
            client,
            COMMUNICATION,
            "no HTTP",
            method="post",
            endpoint=f"{url}/t0ken-path?key=t0ken-query",
            headers={"Authorization": "Bearer t0ken-header"},
            body="t0ken-body",
        )
    assert "t0ken" not in str(problem)
