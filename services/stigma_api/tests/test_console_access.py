"""Who gets into the console, and what every answer of it carries."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from services.stigma_api.tests.api_server import SCRIPTED, Api
from services.stigma_api.tests.consoles import (
    PRINCIPALS,
    SECRET,
    api_with_console,
    http_client,
    metadata,
    principal_with_key,
)
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import Agent
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma_api.access.principals import Action, Principals
from stigma_api.console.sessions import LIFETIME, Sessions
from stigma_api.settings import ApiSettings

PAGES = ("/executions", "/executions/agent-1", "/events/executions", "/stuck", "/agents")


@pytest.fixture(scope="module")
async def guarded(
    temporal_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    directory = tmp_path_factory.mktemp("console")
    async with api_with_console(temporal_server.address, directory) as api:
        agent = Agent(name="reviewer", spec=SCRIPTED)
        await api.agents.ApplyAgent(ApplyAgentRequest(agent=agent), **metadata("root"))
        yield api


@pytest.fixture(scope="module")
async def unguarded(
    temporal_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    directory = tmp_path_factory.mktemp("console")
    async with api_with_console(temporal_server.address, directory, principals=None) as api:
        yield api


@pytest.mark.parametrize("path", PAGES)
async def test_without_a_key_there_is_only_the_door(guarded: Api, path: str):
    async with http_client(guarded) as browser:
        answer = await browser.get(path)
        assert answer.status_code == 401
        assert 'name="key"' in answer.text
        assert f'value="{path}"' in answer.text
        assert (await browser.get(path, headers={"authorization": "Bearer x"})).status_code == 401
        assert (
            await browser.get(path, headers={"cookie": "stigma_session=x.y"})
        ).status_code == 401


async def test_the_door_leads_on_to_what_was_asked_for(guarded: Api):
    async with http_client(guarded) as browser:
        door = await browser.get("/executions", params={"session": '"><script>'})
        assert 'value="/executions?session=%22%3E%3Cscript%3E"' in door.text


async def test_a_key_opens_a_session_that_is_not_the_key(guarded: Api):
    async with http_client(guarded) as browser:
        door = await browser.get("/login", params={"next": "/agents"})
        assert door.status_code == 200
        wrong = await browser.post("/login", data={"key": "wrong-key", "next": "/agents"})
        assert wrong.status_code == 401
        assert "not known" in wrong.text
        assert "wrong-key" not in wrong.text
        assert "set-cookie" not in wrong.headers
        answer = await browser.post("/login", data={"key": "caller-key", "next": "/agents"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/agents")
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict", f"Max-Age={int(LIFETIME.total_seconds())}"} <= set(
            cookie.split("; ")
        )
        assert "caller-key" not in cookie
        page = await browser.get("/agents")
        assert page.status_code == 200
        assert "caller" in page.text
        left = await browser.post("/logout")
        assert (left.status_code, left.headers["location"]) == (303, "/login")
        assert (await browser.get("/agents")).status_code == 401


async def test_what_a_proxy_signs_in_with_is_not_ours(guarded: Api):
    proxy = {"authorization": "Basic cHJveHk6c2VjcmV0"}
    async with http_client(guarded) as browser:
        door = await browser.get("/agents", headers=proxy)
        assert door.status_code == 401
        assert 'name="key"' in door.text
        assert "www-authenticate" not in door.headers  # it would ask for the proxy's password
        await browser.post("/login", data={"key": "caller-key"}, headers=proxy)
        assert "caller" in (await browser.get("/agents", headers=proxy)).text
        # A key counts more than a session.
        key = {"authorization": "bearer root-key"}
        assert "root" in (await browser.get("/agents", headers=key)).text


async def test_behind_tls_the_cookie_stays_on_it(guarded: Api):
    async with http_client(guarded) as browser:
        for headers, secure in (({}, False), ({"x-forwarded-proto": "https"}, True)):
            answer = await browser.post("/login", data={"key": "caller-key"}, headers=headers)
            assert ("Secure" in answer.headers["set-cookie"]) == secure


@pytest.mark.parametrize("elsewhere", ["//evil.example", "/\\evil.example", "https://evil.example"])
async def test_signing_in_leads_to_our_own_pages_only(guarded: Api, elsewhere: str):
    async with http_client(guarded) as browser:
        answer = await browser.post("/login", data={"key": "caller-key", "next": elsewhere})
        assert answer.headers["location"] == "/"


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
async def test_what_another_site_sends_is_refused(guarded: Api, headers: dict[str, str]):
    async with http_client(guarded) as browser:
        await browser.post("/login", data={"key": "caller-key"})
        for path in ("/login", "/logout"):
            answer = await browser.post(path, headers=headers)
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers
        assert (await browser.get("/agents")).status_code == 200


async def test_there_is_nothing_to_do_to_an_execution_yet(guarded: Api):
    async with http_client(guarded, "caller") as browser:
        own = {"origin": str(browser.base_url).rstrip("/")}
        answer = await browser.post("/executions/agent-1/actions/approve", headers=own)
        assert answer.status_code == 404
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert (await browser.request(method, "/executions/agent-1")).status_code == 405


async def test_each_sees_what_is_theirs(guarded: Api):
    started = await guarded.executions.StartAgent(
        StartAgentRequest(agent_id="reviewer", message="m"), **metadata("caller")
    )
    page = f"/executions/{started.id}"
    for name, code in (("caller", 200), ("root", 200), ("other", 404), ("nobody", 403)):
        async with http_client(guarded, name) as browser:
            answer = await browser.get(page)
            assert answer.status_code == code, name
            assert ("reviewer@1" in answer.text) == (code == 200)
            if name == "nobody":
                for path in PAGES:
                    assert (await browser.get(path)).status_code == 403
                assert 'href="/agents"' not in answer.text


@pytest.mark.parametrize("path", ["/", "/login", "/agents", "/nowhere", "/static/console.css"])
async def test_every_answer_says_what_browsers_are_to_hold_to(guarded: Api, path: str):
    async with http_client(guarded, "root") as browser:
        answer = await browser.get(path)
        policy = answer.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == (
            "no-cache" if path.startswith("/static") else "no-store"
        )
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


async def test_static_files_are_kept_by_their_version(guarded: Api):
    async with http_client(guarded) as browser:
        door = (await browser.get("/login")).text
        [script] = [part for part in door.split('"') if part.startswith("/static/console.js")]
        answer = await browser.get(script)
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-type"].startswith("text/javascript")
        for missing in ("/static/base.html", "/static/..%2fapp.py", "/static/"):
            assert (await browser.get(missing)).status_code == 404


async def test_a_form_is_bounded(guarded: Api):
    async with http_client(guarded) as browser:
        answer = await browser.post("/login", data={"key": "k" * 9000})
        assert answer.status_code == 400
        many = await browser.post("/login", data={f"field{n}": "x" for n in range(20)})
        assert many.status_code == 400


async def test_without_principals_nobody_signs_in(unguarded: Api):
    async with http_client(unguarded) as browser:
        page = await browser.get("/executions")
        assert page.status_code == 200
        assert "local" in page.text
        assert "Sign out" not in page.text
        assert (await browser.get("/login")).headers["location"] == "/"
        assert (await browser.get("/")).headers["location"] == "/executions"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7301", "127.0.0.1.evil.example"])
async def test_a_foreign_name_for_this_machine_opens_nothing(unguarded: Api, host: str):
    async with http_client(unguarded) as browser:
        assert (await browser.get("/executions", headers={"host": host})).status_code == 403
        for own in ("localhost", "localhost:7301", "[::1]:80"):
            assert (await browser.get("/agents", headers={"host": own})).status_code == 200


@pytest.mark.parametrize("host", ["localhost:99999", "localhost:-1", "localhost:x", "[::1", "[x]"])
async def test_a_host_that_cannot_be_read_opens_nothing(unguarded: Api, host: str):
    async with http_client(unguarded) as browser:
        assert (await browser.get("/executions", headers={"host": host})).status_code == 403


async def test_an_origin_that_cannot_be_read_is_another_site(unguarded: Api):
    async with http_client(unguarded) as browser:
        answer = await browser.post("/logout", headers={"origin": "http://[::1"})
        assert answer.status_code == 403


def test_sessions_end(monkeypatch: pytest.MonkeyPatch):
    sessions = Sessions(PRINCIPALS, SECRET)
    issued = sessions.issue("caller-key")
    assert issued is not None
    principal, cookie = issued
    assert sessions.principal(cookie) == principal
    assert Sessions(PRINCIPALS, SECRET).principal(cookie) == principal  # another replica
    assert Sessions(PRINCIPALS).principal(cookie) is None  # another secret
    changed = Principals(
        [principal_with_key("caller").model_copy(update={"key_sha256": ["0" * 64]})]
    )
    assert Sessions(changed, SECRET).principal(cookie) is None  # the key is gone
    assert Sessions(Principals([principal_with_key("other")]), SECRET).principal(cookie) is None
    text, _, signature = cookie.partition(".")
    for forged in ("", ".", text, f"{text}.", f"{text[:-2]}xx.{signature}", f"ü.{signature}"):
        assert sessions.principal(forged) is None
    signer = sessions._serializer.make_signer(sessions._serializer.salt)
    for content in ("not json", json.dumps("x")[1:]):
        assert sessions.principal(signer.sign(content).decode()) is None
    assert sessions.issue("unknown") is None
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now - 5)
    assert sessions.principal(cookie) == principal  # a replica whose clock is behind
    monkeypatch.setattr("time.time", lambda: now + LIFETIME.total_seconds() + 1)
    assert sessions.principal(cookie) is None


def test_permissions_lost_are_lost_in_a_session():
    issued = Sessions(PRINCIPALS, SECRET).issue("caller-key")
    assert issued is not None
    without = Principals([principal_with_key("caller", actions=frozenset())])
    found = Sessions(without, SECRET).principal(issued[1])
    assert found is not None
    assert not found.may(Action.EXECUTIONS_READ)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"console_host": "0.0.0.0"}, "STIGMA_CONSOLE_HOST 0.0.0.0 can be reached by others"),
        (
            {"api_tls_client_ca": "ca", "api_tls_cert": "c", "api_tls_key": "k"},
            "needs STIGMA_PRINCIPALS_FILE",
        ),
        ({"console_session_secret": "short"}, "32 characters"),
        ({"console_temporal_ui_url": "javascript:alert(1)"}, "console_temporal_ui_url"),
    ],
)
def test_settings_that_would_open_too_much_are_refused(given: dict[str, Any], complaint: str):
    with pytest.raises(ValidationError, match=complaint):
        ApiSettings(console_enabled=True, **given)
    if complaint.startswith(("STIGMA", "needs")):
        ApiSettings(console_enabled=False, **given)
        ApiSettings(console_enabled=True, principals_file="p.yaml", **given)


def test_the_console_is_off_unless_asked_for():
    assert not ApiSettings().console_enabled
