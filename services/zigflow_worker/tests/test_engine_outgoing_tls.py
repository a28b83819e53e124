"""TLS of calls: a stand-in for a public host, and certificates that are refused."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.zigflow_worker.tests.certificates import Authority
from services.zigflow_worker.tests.http_calls import LOOPBACK, make, new_client
from services.zigflow_worker.tests.web_server import WebServer, web_server
from zigflow_worker.errors import WorkflowError
from zigflow_worker.outgoing.client import HttpClient
from zigflow_worker.outgoing.policy import OutgoingPolicy

HOST = "petstore.swagger.io"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def stand_in(authority: Authority) -> AsyncIterator[WebServer]:
    async with web_server(authority.certificate(HOST), HOST) as server:
        server.answer("/v2/pet/1", '{"id": 1}', media_type="application/json")
        yield server


def client_of(server: WebServer, host: str = HOST) -> HttpClient:
    """Return a client that finds a host's port 443 at a stand-in."""
    return new_client(OutgoingPolicy(LOOPBACK, (), [f"{host}:443:127.0.0.1:{server.port}"]))


async def test_a_stand_in_keeps_the_documents_text(
    authority: Authority, stand_in: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    client = client_of(stand_in)
    assert await make(client, endpoint=f"https://{HOST}/v2/pet/1") == {"id": 1}
    assert stand_in.seen[0].headers["host"] == HOST
    await client.close()


async def test_an_unknown_authority(stand_in: WebServer) -> None:
    client = client_of(stand_in)
    with pytest.raises(WorkflowError, match=r"TLS failed: .*issuer") as failure:
        await make(client, endpoint=f"https://{HOST}/v2/pet/1?token=t0ken")
    assert failure.value.problem["status"] == 500
    assert "t0ken" not in str(failure.value.problem)
    await client.close()


async def test_a_certificate_of_another_host(
    authority: Authority, stand_in: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    client = client_of(stand_in, "other.example")
    with pytest.raises(WorkflowError, match="TLS failed: Hostname mismatch"):
        await make(client, endpoint="https://other.example/v2/pet/1")
    await client.close()


async def test_a_server_without_tls() -> None:
    async with web_server() as plain:
        client = client_of(plain)
        with pytest.raises(WorkflowError, match="TLS failed"):
            await make(client, endpoint=f"https://{HOST}/")
        await client.close()


async def test_no_line_of_a_log_has_a_header(caplog: pytest.LogCaptureFixture) -> None:
    """The library logs them below the level to which services hold it."""
    caplog.set_level(logging.INFO)
    async with web_server() as server:
        client = new_client()
        server.answer("/")
        headers = {"Authorization": "Bearer t0ken"}
        await make(client, endpoint=f"{server.url}/?key=t0ken", headers=headers)
        await client.close()
    assert "t0ken" not in caplog.text
