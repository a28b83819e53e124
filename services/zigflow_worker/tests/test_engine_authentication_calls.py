"""Calls with authentication, by runs: on Apache httpd, and with tokens."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.zigflow_worker.tests.apache_server import (
    HOW_TO_GET,
    PASSWORD,
    USER,
    apache,
    find_apache,
)
from services.zigflow_worker.tests.conftest import Engine, document
from services.zigflow_worker.tests.token_server import TokenServer
from services.zigflow_worker.tests.web_server import WebServer, web_server
from zigflow_worker.definition import InvalidDocumentError
from zigflow_worker.programs import compile_text
from zigflow_worker.tasks.registry import TASK_KINDS

ADA = {"user": USER, "password": PASSWORD}


@pytest.fixture(scope="module")
async def pages() -> AsyncIterator[str]:
    program = find_apache()
    if program is None:
        pytest.skip(HOW_TO_GET)
    async with apache(program) as url:
        yield url


@pytest.fixture
async def web() -> AsyncIterator[WebServer]:
    async with web_server() as server:
        yield server


def get(url: str, authentication: Any, use: Any = None, **task: Any) -> str:
    """The body of a document with one call."""
    endpoint = {"uri": url, "authentication": authentication}
    call = {"call": "http", "with": {"method": "get", "endpoint": endpoint}, **task}
    return f"use: {json.dumps(use or {})}\ndo: {json.dumps([{'get': call}])}\n"


def credentials(scheme: str) -> dict[str, Any]:
    return {scheme: {"username": "${ .user }", "password": "${ .password }"}}


@pytest.mark.parametrize("scheme", ["basic", "digest"])
async def test_apache_lets_in_who_has_the_password(scheme: str, engine: Engine, pages: str):
    body = get(f"{pages}/{scheme}/page", credentials(scheme))
    assert await engine.run(body, ADA) == f"behind {scheme}"
    problem = await engine.fault(body, {**ADA, "password": "wrong"})
    assert problem["type"].endswith("/communication")
    assert (problem["status"], problem["instance"]) == (401, "/do/0/get")


@pytest.mark.parametrize("scheme", ["basic", "digest"])
async def test_a_reusable_policy_takes_its_settings_from_a_secret(
    scheme: str, engine: Engine, pages: str, secrets: Path
):
    (secrets / "ada").mkdir()
    (secrets / "ada" / "username").write_text(USER)
    (secrets / "ada" / "password").write_text(f"{PASSWORD}\n")
    use = {"secrets": ["ada"], "authentications": {"ours": {scheme: {"use": "ada"}}}}
    url = f"{pages}/{scheme}/page"
    assert await engine.run(get(url, {"use": "ours"}, use)) == f"behind {scheme}"
    (secrets / "ada.hosts").write_text("*.example.com\n")
    problem = await engine.fault(get(url, {"use": "ours"}, use))
    assert (problem["status"], problem["instance"]) == (403, "/do/0/get")
    assert problem["detail"] == "the secret 'ada' may not go to the host '127.0.0.1'"
    assert PASSWORD not in await texts_of(engine)


async def texts_of(engine: Engine) -> str:
    """All that the histories of an engine's runs hold."""
    return "".join([history.to_json() async for history in engine.histories()])


def digest_is_right(header: str, method: str, password: str) -> bool:
    """Whether a SHA-256 digest is right, by RFC 7616."""
    found = dict(re.findall(r'(\w+)="?([^",]+)"?', header.removeprefix("Digest ")))
    first = _hash(f"{found['username']}:{found['realm']}:{password}")
    second = _hash(f"{method}:{found['uri']}")
    parts = (first, found["nonce"], found["nc"], found["cnonce"], "auth", second)
    assert found["algorithm"] == "SHA-256"
    right: bool = found["response"] == _hash(":".join(parts))
    return right


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def test_digest_with_sha_256(engine: Engine, web: WebServer):
    challenge = 'Digest realm="r", nonce="n-1", qop="auth", algorithm=SHA-256'

    async def answer(request: Request) -> Response:
        sent = request.headers.get("authorization")
        if sent and digest_is_right(sent, "GET", PASSWORD):
            return JSONResponse("in")
        return Response(status_code=401, headers={"WWW-Authenticate": challenge})

    web.routes["/x"] = answer
    assert await engine.run(get(f"{web.url}/x?a=b", credentials("digest")), ADA) == "in"
    assert [("authorization" in seen.headers) for seen in web.seen] == [False, True]


def oauth2(authority: str, **settings: Any) -> dict[str, Any]:
    client = {"id": "me", "secret": "${ $secrets.client.secret }"}
    policy = {"authority": authority, "grant": "client_credentials", "client": client, **settings}
    return {"oauth2": policy}


CLIENT_SECRET = "client-secret-5e1f"
USE = {"secrets": ["client"]}


@pytest.fixture
def client_secret(secrets: Path) -> None:
    (secrets / "client").write_text(json.dumps({"secret": CLIENT_SECRET}))


@pytest.mark.usefixtures("client_secret")
async def test_a_401_fetches_a_new_token_once(
    engine: Engine, web: WebServer, token_server: TokenServer
):
    async def answer(request: Request) -> Response:
        status = 200 if request.headers["authorization"] == "Bearer token-2" else 401
        return JSONResponse("in", status)

    token_server.reset()
    web.routes["/x"] = answer
    body = get(f"{web.url}/x", oauth2(f"{token_server.url}/{{realm}}"), USE)
    assert await engine.run(body, {"realm": "a b"}) == "in"
    assert await engine.run(body, {"realm": "a b"}) == "in"
    assert len(token_server.parameters) == 2
    assert token_server.parameters[0]["client_secret"] == CLIENT_SECRET
    assert token_server.requests[0].scope["raw_path"] == b"/a%20b/oauth2/token"

    web.answer("/x", status_code=401)
    problem = await engine.fault(body, {"realm": "a b"})
    assert (problem["type"].rsplit("/")[-1], problem["status"]) == ("communication", 401)
    assert len(token_server.parameters) == 3
    texts = await texts_of(engine)
    assert CLIENT_SECRET not in texts
    assert "token-2" not in texts


@pytest.mark.usefixtures("client_secret")
async def test_the_run_sees_a_refusal_of_the_token_endpoint(
    engine: Engine, web: WebServer, token_server: TokenServer
):
    token_server.reset()
    refusal = {"error": "invalid_client", "error_description": CLIENT_SECRET}
    token_server.answer = lambda parameters: JSONResponse(refusal, 401)
    problem = await engine.fault(get(web.url, oauth2(token_server.url), USE))
    assert problem == {
        "type": "https://open-workflow-specification.org/spec/1.0.0/errors/authentication",
        "status": 401,
        "title": "Authentication Error",
        "detail": "the token endpoint at '127.0.0.1' refused the request: "
        "invalid_client, status 401",
        "instance": "/do/0/get",
    }
    assert web.seen == []


@pytest.mark.usefixtures("client_secret")
async def test_a_bound_secret_does_not_go_to_another_token_endpoint(
    engine: Engine, web: WebServer, token_server: TokenServer, secrets: Path
):
    token_server.reset()
    (secrets / "client.hosts").write_text("login.example.com\n")
    problem = await engine.fault(get(web.url, oauth2(token_server.url), USE))
    assert problem["status"] == 403
    assert token_server.requests == []
    assert web.seen == []


@pytest.mark.parametrize(
    ("authentication", "scheme", "parameter"),
    [
        ({"bearer": {"token": "${ .token }"}}, "Bearer", "t-1"),
        ({"basic": {"username": "jo", "password": "p"}}, "Basic", "am86cA=="),
    ],
)
async def test_authorization_in_output_and_export(
    authentication: Any, scheme: str, parameter: str, engine: Engine, web: WebServer
):
    web.answer("/x", "5", media_type="application/json")
    output = "${ {content: ., scheme: $authorization.scheme} }"
    export = "${ {parameter: $authorization.parameter, output: $output} }"
    rules = {"output": {"as": output}, "export": {"as": export}}
    body = get(f"{web.url}/x", authentication, **rules)
    last = {"last": {"set": {"context": "${ $context }", "output": "${ . }"}}}
    body = f"{body.rstrip().removesuffix(']')}, {json.dumps(last)}]"
    assert await engine.run(body, {"token": "t-1"}) == {
        "context": {"parameter": parameter, "output": {"content": 5, "scheme": scheme}},
        "output": {"content": 5, "scheme": scheme},
    }


async def test_rules_with_authorization_see_no_input_made_of_secrets(
    engine: Engine, web: WebServer, secrets: Path
):
    (secrets / "key").write_text("s3same-t0ken")
    web.answer("/x", "5", media_type="application/json")
    rules = {
        "input": {"from": "${ {token: $secrets.key} }"},
        "output": {"as": "${ [$input, $authorization.scheme] }"},
        "export": {"as": "${ [$input, $task.input, $authorization.scheme] }"},
    }
    body = get(f"{web.url}/x", {"bearer": {"token": "${ .token }"}}, {"secrets": ["key"]}, **rules)
    assert await engine.run(body, {"raw": 1}) == [{"raw": 1}, "Bearer"]
    assert web.seen[-1].headers["authorization"] == "Bearer s3same-t0ken"
    assert "s3same" not in await texts_of(engine)


@pytest.mark.parametrize(
    ("authentication", "use", "pointer", "message"),
    [
        (
            {"use": "theirs"},
            {"authentications": {}},
            "/use",
            "'theirs' is not defined in 'use.auth",
        ),
        ({"use": "ours"}, {}, "/use", "'ours' is not defined in 'use.authentications'"),
        ({"basic": {"use": "gone"}}, {}, "/basic/use", "'gone' is not declared in 'use.secrets'"),
        ({"bearer": {"token": "${ $secrets.a }"}}, {}, "/bearer/token", "'a' is not declared"),
        ({"bearer": {"token": "${ ( }"}}, {}, "/bearer/token", "invalid expression"),
        ({"bearer": {"token": "t"}, "use": "ours"}, {}, "/bearer", "two authentications"),
        ({"bearer": {"token": "t"}, "basic": {"use": "s"}}, {}, "/basic", "two authentications"),
        (
            {"oauth2": {"authority": "x", "grant": "password"}},
            {},
            "/oauth2/authority",
            "expected an",
        ),
        (
            {"oidc": {"authority": "http://a/{b", "grant": "password"}},
            *({}, "/oidc/authority", "a brace of the URI template is not closed"),
        ),
    ],
)
def test_a_wrong_authentication_of_a_call_is_refused_with_its_place(
    authentication: Any, use: Any, pointer: str, message: str
):
    with pytest.raises(InvalidDocumentError) as invalid:
        compile_text(document(get("http://x", authentication, use)), TASK_KINDS)
    (problem,) = invalid.value.problems
    assert problem.pointer == f"/do/0/get/with/endpoint/authentication{pointer}"
    assert message in problem.message
    assert (problem.line, problem.column > 20) == (7, True)
