"""Access tokens of MCP servers, from a real authorization server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from ai_worker.mcp.failures import DeniedError, NotSentError, RefusedError
from ai_worker.mcp.metrics import McpMetrics
from ai_worker.mcp.oauth import AccessTokens
from ai_worker.mcp.server import Server
from ai_worker.mcp.tool_session import ToolRequest
from services.ai_worker.tests.test_ai_mcp import FaultyServer
from services.ai_worker.tests.token_server import CLIENT, SECRET, TokenServer


@pytest.fixture
async def authority() -> AsyncIterator[TokenServer]:
    server = TokenServer()
    await server.start()
    yield server
    server.hold.set()
    await server.stop()


@pytest.fixture
async def faulty() -> AsyncIterator[FaultyServer]:
    server = FaultyServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def server(faulty: FaultyServer, authority: TokenServer) -> AsyncIterator[Server]:
    resource = faulty.resource(oauth=authority.client(), max_concurrency=200)
    own = Server(resource, McpMetrics(CollectorRegistry()))
    yield own
    await own.close()


async def test_every_request_has_a_token_that_many_calls_share(
    faulty: FaultyServer, server: Server, authority: TokenServer
) -> None:
    calls = (server.call(ToolRequest("act", {"value": f"v{n}"}, {}), 20) for n in range(100))
    await asyncio.gather(*calls)
    assert len(authority.forms) == 1
    assert authority.forms[0] == {"grant_type": "client_credentials"}
    assert {each["authorization"] for each in faulty.headers} == {"Bearer token-1"}
    assert faulty.unauthorized == 0


async def test_calls_do_not_wait_for_each_other(
    faulty: FaultyServer, server: Server, authority: TokenServer
) -> None:
    first = asyncio.create_task(server.call(ToolRequest("act", {"how": "wait"}, {}), 30))
    await faulty.called.wait()
    await server.call(ToolRequest("act", {"value": "second"}, {}), 30)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_token_that_is_not_taken_any_more_is_replaced_once(
    faulty: FaultyServer, server: Server, authority: TokenServer
) -> None:
    await server.call(ToolRequest("act", {}, {}), 30)
    faulty.token = "token-2"
    await asyncio.gather(
        *(server.call(ToolRequest("act", {"value": "a"}, {}), 30) for _ in range(20))
    )
    assert authority.tokens == ["token-1", "token-2"]
    assert len(faulty.calls) == 21
    faulty.token = "none"
    with pytest.raises(RefusedError, match="HTTP status 401"):
        await server.call(ToolRequest("act", {}, {}), 30)
    assert authority.tokens == ["token-1", "token-2", "token-3"]
    assert len(faulty.calls) == 21


async def test_a_server_that_takes_no_token_is_not_waited_for(
    faulty: FaultyServer, server: Server, authority: TokenServer
) -> None:
    faulty.token = "none"
    began = time.monotonic()
    with pytest.raises(DeniedError, match="HTTP status 401"):
        await server.list_tools(60)
    assert time.monotonic() - began < 30
    faulty.token = authority.tokens[-1]
    await server.list_tools(60)


@pytest.mark.parametrize("lifetime", [1, 0])
async def test_a_token_is_replaced_before_it_expires(
    authority: TokenServer, monkeypatch: pytest.MonkeyPatch, lifetime: int
) -> None:
    now = 1000.0
    monkeypatch.setattr("ai_worker.mcp.oauth.time.monotonic", lambda: now)
    tokens = AccessTokens(authority.client())
    authority.lifetime = lifetime
    assert await tokens.token() == "token-1"
    now += lifetime * 0.91
    assert await tokens.token() == "token-2"


@pytest.mark.parametrize(("lifetime", "kept", "gone"), [(3600, 3530, 3545), (None, 1e9, None)])
async def test_a_token_is_kept_until_shortly_before_it_expires(
    authority: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
    lifetime: Any,
    kept: float,
    gone: float | None,
) -> None:
    now = 1000.0
    monkeypatch.setattr("ai_worker.mcp.oauth.time.monotonic", lambda: now)
    tokens = AccessTokens(authority.client())
    authority.lifetime = lifetime
    assert await tokens.token() == "token-1"
    now = 1000 + kept
    assert await tokens.token() == "token-1"
    if gone is not None:
        now = 1000 + gone
        assert await tokens.token() == "token-2"


async def test_who_waits_for_a_token_may_leave(authority: TokenServer) -> None:
    tokens = AccessTokens(authority.client())
    authority.hold.clear()
    first = asyncio.create_task(tokens.token())
    second = asyncio.create_task(tokens.token())
    await authority.asked.wait()
    first.cancel()
    authority.hold.set()
    assert await second == "token-1"
    assert len(authority.forms) == 1


async def test_what_a_client_asks_for(authority: TokenServer) -> None:
    client = authority.client(
        client_auth="post", scopes=("tickets.read", "b"), resource="https://mcp.example/x"
    )
    assert await AccessTokens(client).token() == "token-1"
    assert authority.forms == [
        {
            "grant_type": "client_credentials",
            "client_id": CLIENT,
            "client_secret": SECRET,
            "scope": "tickets.read b",
            "resource": "https://mcp.example/x",
        }
    ]


async def test_the_issuers_metadata_name_the_token_url(authority: TokenServer) -> None:
    client = authority.client(token_url="", issuer=f"{authority.url}/")
    assert await AccessTokens(client).token() == "token-1"
    assert authority.paths == [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/token",
    ]
    authority.issuer = "https://evil.example"
    with pytest.raises(RefusedError, match="has another issuer"):
        await AccessTokens(client).token()
    assert len(authority.forms) == 1


@pytest.mark.parametrize(
    ("failure", "kind", "text"),
    [
        ((400, {"error": "invalid_scope"}), RefusedError, r"HTTP status 400 \(invalid_scope\)\."),
        ((403, {"error": f"no {SECRET}"}), RefusedError, r"HTTP status 403\."),
        ((503, {}), NotSentError, r"HTTP status 503\."),
        ((429, {}), NotSentError, r"HTTP status 429\."),
        ((200, {"token_type": "bearer"}), RefusedError, "not a bearer token"),
        ((200, {"access_token": "a\nb", "token_type": "bearer"}), RefusedError, "not a bearer"),
        ((200, {"access_token": "a", "token_type": "mac"}), RefusedError, "not a bearer token"),
        ((200, {"access_token": "a" * 300_000}), RefusedError, "not a bearer token"),
    ],
)
async def test_a_failure_says_why_and_no_secret(
    authority: TokenServer, failure: tuple[int, dict[str, Any]], kind: type[Exception], text: str
) -> None:
    authority.failure = failure
    tokens = AccessTokens(authority.client())
    found = await asyncio.gather(*(tokens.token() for _ in range(9)), return_exceptions=True)
    assert len(authority.forms) == 1
    assert {type(each) for each in found} == {kind}
    with pytest.raises(kind, match=text) as caught:
        await tokens.token()
    assert SECRET not in str(caught.value)


async def test_a_call_without_a_token_is_not_sent(
    faulty: FaultyServer, authority: TokenServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    wrong = authority.client(client_secret=SecretStr("wrong-s3cret"))
    own = Server(faulty.resource(oauth=wrong), McpMetrics(CollectorRegistry()))
    async with asyncio.timeout(30):  # not until it may be sent no more: the answer is final
        with pytest.raises(RefusedError, match=r"HTTP status 401 \(invalid_client\)") as caught:
            await own.call(ToolRequest("act", {}, {}), 60)
    await own.close()
    assert faulty.calls == []
    right = Server(faulty.resource(oauth=authority.client()), McpMetrics(CollectorRegistry()))
    await right.call(ToolRequest("act", {}, {}), 30)
    await right.close()
    for secret in (SECRET, "wrong-s3cret", authority.tokens[-1]):
        assert secret not in caplog.text
        assert secret not in str(caught.value)


async def test_a_call_whose_token_does_not_come_in_time_is_not_sent(
    faulty: FaultyServer, server: Server, authority: TokenServer
) -> None:
    authority.hold.clear()
    with pytest.raises(NotSentError, match="did not answer in time"):
        await server.call(ToolRequest("act", {"value": "first"}, {}), 0.5)
    authority.hold.set()
    await server.call(ToolRequest("act", {"value": "second"}, {}), 30)
    assert faulty.calls == [{"value": "second"}]
    assert len(authority.forms) == 1


async def test_an_authorization_server_that_is_away(authority: TokenServer) -> None:
    client = authority.client(token_url="http://127.0.0.1:9/token")
    with pytest.raises(NotSentError, match="does not answer"):
        await AccessTokens(client).token()
