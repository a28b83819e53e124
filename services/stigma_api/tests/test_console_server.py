"""The console's server: where it listens, how it is bounded, how it stops."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from services.stigma_api.tests.consoles import api_with_console, events, http_client
from stigma.runtime import ConfigurationError, Readiness, ServiceError
from stigma_api import http_server as console_server
from stigma_api.http_server import ConsoleServer


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("hello")(scope, receive, send)


def served(app: Any = hello, **options: Any) -> ConsoleServer:
    given: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 0,
        "tls": None,
        "end_streams": lambda: None,
    }
    return ConsoleServer(Readiness(), app, **(given | options))


async def fetch(url: str, **options: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, **options) as browser:
        return await browser.get(url)


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Write a certificate for localhost, and its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .sign(private, hashes.SHA256())
    )
    certificate, key = directory / "tls.crt", directory / "tls.key"
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, key


async def test_it_starts_serves_and_stops():
    readiness = Readiness()
    before = signal.getsignal(signal.SIGTERM)
    server = ConsoleServer(
        readiness, hello, host="127.0.0.1", port=0, tls=None, end_streams=lambda: None
    )
    await server.start()
    assert signal.getsignal(signal.SIGTERM) is before  # signals are the service's affair
    assert server.port
    assert server.url == f"http://127.0.0.1:{server.port}/"
    assert readiness.checks["console"].ready
    assert (await fetch(server.url)).text == "hello"
    await server.stop(timedelta(seconds=5))
    assert not readiness.checks["console"].ready
    with pytest.raises(httpx2.ConnectError):
        await fetch(server.url)
    with pytest.raises(ServiceError, match="ended by itself"):
        await server.wait_failed()


async def test_what_never_started_stops():
    await served().stop(timedelta(seconds=1))


async def test_a_port_in_use_is_one_clear_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError) as caught:
            await served(port=port).start()
    assert str(caught.value) == (
        f"the console cannot listen on 127.0.0.1:{port}: Address already in use; "
        "STIGMA_CONSOLE_PORT names another port, 0 takes a free one"
    )


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")]
)
def test_its_address_is_one_that_a_browser_can_open(host: str, shown: str):
    assert served(host=host, port=7301).url == f"http://{shown}:7301/"


async def test_it_serves_tls_with_the_certificate_of_the_api(tmp_path: Path):
    certificate, key = self_signed(tmp_path)
    server = served(tls=(certificate, key))
    await server.start()
    assert server.url.startswith("https://")
    trusting = ssl.create_default_context(cafile=certificate)
    answer = await fetch(server.url.replace("127.0.0.1", "localhost"), verify=trusting)
    assert answer.text == "hello"
    await server.stop(timedelta(seconds=1))
    with pytest.raises(ConfigurationError, match="a TLS file cannot be used"):
        await served(tls=(tmp_path / "none", key)).start()


async def test_a_renewed_certificate_needs_no_restart(tmp_path: Path):
    certificate, key = self_signed(tmp_path)
    first = ssl.create_default_context(cafile=certificate)
    server = served(tls=(certificate, key))
    await server.start()
    for host in ("localhost", "127.0.0.1"):  # an address is no server name
        first.check_hostname = host == "localhost"
        await fetch(server.url.replace("127.0.0.1", host), verify=first)
    old_key = key.read_bytes()
    self_signed(tmp_path)
    new_key = key.read_bytes()
    key.write_bytes(old_key)
    await fetch(server.url, verify=first)  # half of it is there: the old one serves
    certificate_text = certificate.read_bytes()
    certificate.unlink()
    await fetch(server.url, verify=first)
    certificate.write_bytes(certificate_text)
    key.write_bytes(new_key)
    renewed = ssl.create_default_context(cafile=certificate)
    renewed.check_hostname = False
    for _ in range(2):
        assert (await fetch(server.url, verify=renewed)).text == "hello"
    with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        await fetch(server.url, verify=first)
    await server.stop(timedelta(seconds=1))


async def test_who_says_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(console_server, "_HEAD_SECONDS", 0.1)
    server = served()
    await server.start()
    for words in (b"", b"GET / HTTP/1.1\r\nHost: local"):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(words)
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        writer.close()
    await server.stop(timedelta(seconds=1))


WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
PARTS = {
    "head": b"GET / HTTP/1.1\r\nHost: local",
    "body": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf",
}


@pytest.mark.parametrize("part", PARTS)
async def test_who_stops_half_way_is_hung_up_on_after_other_requests_too(
    part: str, monkeypatch: pytest.MonkeyPatch
):
    # From the last answer on it is short: before, this process may be late itself.
    answers = iter([60.0, 0.2] if part == "body" else [0.2])

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        monkeypatch.setattr(console_server, "_HEAD_SECONDS", next(answers))
        await hello(scope, receive, send)

    server = served(answer)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(30):
        writer.write(WHOLE)
        assert b"hello" in await reader.readuntil(b"hello")
        writer.write(PARTS[part])
        if part == "body":  # which nothing has to read
            assert b"hello" in await reader.readuntil(b"hello")
            writer.write(b"more")
        assert await reader.read() == b""
    writer.close()
    await server.stop(timedelta(seconds=1))


class Wire(asyncio.Transport):
    """A connection's other side, which has not read all of its answer."""

    unread = 0
    aborted = False

    def get_write_buffer_size(self) -> int:
        return self.unread

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.unread += len(data)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


async def test_who_is_answered_late_or_reads_slowly_is_not_hung_up_on():
    config = uvicorn.Config(hello, lifespan="off", log_config=None)
    connection, wire = console_server._Connection(config, ServerState(), {}), Wire()
    connection.connection_made(wire)
    connection.data_received(WHOLE)
    connection._close_silent()  # while the answer is made
    await asyncio.gather(*connection.tasks)
    for wire.unread in (900, 700, 100):
        connection._close_silent()
        assert not wire.aborted
    connection._close_silent()  # nothing more was read
    assert wire.aborted
    connection.connection_lost(None)


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(console_server, "_MAX_CONNECTIONS", 3)
    server = served()
    await server.start()
    held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(30):
        assert await reader.read() == b""
    for _, each in [*held, (reader, writer)]:
        each.close()
    await server.stop(timedelta(seconds=1))


async def test_open_streams_do_not_keep_it_from_stopping(
    temporal_server: Any, tmp_path_factory: pytest.TempPathFactory
):
    directory = tmp_path_factory.mktemp("console")
    async with api_with_console(temporal_server.address, directory, principals=None) as api:
        assert api.console is not None
        async with http_client(api) as browser:
            stream = events(browser, "/events/executions")
            assert "rows" in await anext(stream)
            begun = time.monotonic()
            await api.console.stop(timedelta(seconds=30))
            assert time.monotonic() - begun < 25
            with pytest.raises((StopAsyncIteration, AssertionError, httpx2.HTTPError)):
                await anext(stream)
