"""Credentials of OpenAPI and gRPC calls, and of the documents that they name."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from zigflow_worker.settings import EngineSettings

from .grpc_servers import PROTOS, grpc_server
from .openapi_documents import api
from .web_server import WebServer, web_server

HOSTS = ("docs.example.com", "api.example.com")


@pytest.fixture
async def web() -> AsyncIterator[WebServer]:
    """Both hosts: an operation, its document, and another of the same that is elsewhere."""
    async with web_server() as web:
        described = api(
            {"parameters": [{"$ref": "part.json"}]}, servers=[{"url": "http://api.example.com"}]
        )
        web.answer("/api.json", json.dumps(described))
        web.answer("/part.json", json.dumps({"name": "a", "in": "query"}))
        web.answer(
            "/moved.json", status_code=302, headers={"location": "http://api.example.com/api.json"}
        )
        web.answer("/things", "{}", media_type="application/json")
        yield web


@pytest.fixture
def settings(secrets: Path, tmp_path: Path, web: WebServer) -> EngineSettings:
    """Settings with both hosts here, and secrets that may go to one of them only."""
    for name, host in zip(("docs", "api"), HOSTS, strict=True):
        (secrets / name).write_text(f"{name}-token")
        (secrets / f"{name}.hosts").write_text(host)
    return EngineSettings(
        secrets_dir=secrets,
        resources_dir=tmp_path / "resources",
        outgoing_allow=("127.0.0.0/8",),
        outgoing_connect_to=tuple(f"{host}:80:127.0.0.1:{web.port}" for host in HOSTS),
    )


USE = """
use:
  secrets: [docs, api]
  authentications:
    reader: {bearer: {token: '${ $secrets.docs }'}}
"""


def call(document: str, token: str = "api") -> str:
    return f"""{USE}
do:
  - call:
      call: openapi
      with:
        document:
          endpoint:
            uri: http://docs.example.com/{document}
            authentication: {{use: reader}}
        operationId: do
        authentication: {{bearer: {{token: '${{ $secrets.{token} }}'}}}}
"""


def sent(web: WebServer) -> list[tuple[str, str, str | None]]:
    """Host, path and credentials of each request."""
    return [
        (seen.headers["host"], seen.path, seen.headers.get("authorization")) for seen in web.seen
    ]


async def test_a_document_has_credentials_of_its_own(engine: Any, web: WebServer) -> None:
    assert await engine.run(call("api.json")) == {}
    assert sent(web) == [
        ("docs.example.com", "/api.json", "Bearer docs-token"),
        ("docs.example.com", "/part.json", "Bearer docs-token"),
        ("api.example.com", "/things", "Bearer api-token"),
    ]


async def test_a_document_that_moved_takes_no_credentials_along(
    engine: Any, web: WebServer
) -> None:
    assert await engine.run(call("moved.json")) == {}
    assert sent(web) == [
        ("docs.example.com", "/moved.json", "Bearer docs-token"),
        ("api.example.com", "/api.json", None),
        ("api.example.com", "/part.json", None),
        ("api.example.com", "/things", "Bearer api-token"),
    ]


async def test_a_secret_goes_to_its_hosts_only(engine: Any, web: WebServer) -> None:
    problem = await engine.fault(call("api.json", token="docs"))
    assert (problem["type"].rpartition("/")[2], problem["status"]) == ("authorization", 403)
    assert "/things" not in [seen.path for seen in web.seen]


async def test_an_unknown_authentication_has_its_place(engine: Any) -> None:
    problem = await engine.fault(call("api.json").replace("use: reader", "use: writer"))
    assert "'writer' is not defined in 'use.authentications'" in problem["detail"]
    assert problem["instance"] == "/do/0/call/with/document/endpoint/authentication/use"


async def test_a_grpc_call_has_credentials(
    engine: Any, secrets: Path, settings: EngineSettings, tmp_path: Path
) -> None:
    (secrets / "login").write_text('{"username": "ann", "password": "hunter2"}')
    assert settings.resources_dir is not None
    shutil.copytree(PROTOS, settings.resources_dir)
    async with grpc_server(tmp_path) as port:
        handle = await engine.start(
            engine.document(
                f"""
                use: {{secrets: [login]}}
                do:
                  - say:
                      call: grpc
                      with:
                        proto: {{endpoint: echo.proto}}
                        service:
                          name: echo.v1.Echo
                          host: localhost
                          port: {port}
                          authentication: {{basic: {{use: login}}}}
                        method: Say
                        arguments: {{header: authorization}}
                      output:
                        as: ${{ .header == $authorization.scheme + " " + $authorization.parameter }}
                      export:
                        as: '${{ {{scheme: $authorization.scheme}} }}'
                  - fail:
                      input: {{from: '${{ {{same: ., scheme: $context.scheme}} }}'}}
                      try:
                        - say:
                            call: grpc
                            with:
                              service:
                                name: echo.v1.Echo
                                host: localhost
                                port: {port}
                                authentication: {{basic: {{use: login}}}}
                              method: Say
                              arguments: {{fail_with: 16, text: 'no ', header: authorization}}
                      catch:
                        as: problem
                        do:
                          - tell:
                              set:
                                same: ${{ .same }}
                                scheme: ${{ .scheme }}
                                status: ${{ $problem.status }}
                                detail: ${{ $problem.detail }}
                """
            )
        )
        assert await handle.result() == {
            "same": True,
            "scheme": "Basic",
            "status": 401,
            "detail": "UNAUTHENTICATED: no …",
        }
        history = (await handle.fetch_history()).to_json()
    payloads = [base64.b64decode(data) for data in re.findall(r'"data": *"([^"]+)"', history)]
    assert any(b"UNAUTHENTICATED" in payload for payload in payloads)
    for secret in (b"hunter2", base64.b64encode(b"ann:hunter2")):
        assert not any(secret in payload for payload in [history.encode(), *payloads])
