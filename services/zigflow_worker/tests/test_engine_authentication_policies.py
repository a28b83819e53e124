"""Authentication policies in documents: what is refused before anything runs, and where."""

from __future__ import annotations

import json
from typing import Any

import pytest

from zigflow_worker.definition import InvalidDocumentError
from zigflow_worker.programs import compile_text
from zigflow_worker.tasks.registry import TASK_KINDS

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
CLIENT: dict[str, Any] = {"id": "me", "secret": "s"}
TOKEN = {"token": "t", "type": "urn:ietf:params:oauth:token-type:access_token"}


def document(authentications: Any) -> str:
    return json.dumps(
        {
            "document": {"dsl": "1.0.3", "namespace": "t", "name": "e", "version": "1.0.0"},
            "use": {"authentications": authentications},
            "do": [{"a": {"set": {"x": 1}}}],
        }
    )


def problem_of(policy: Any) -> tuple[str, str]:
    """Pointer, without that of the policy, and message of the one problem."""
    with pytest.raises(InvalidDocumentError) as invalid:
        compile_text(document({"p": policy}), TASK_KINDS)
    (problem,) = invalid.value.problems
    assert problem.line == 1
    assert problem.column > 1
    return problem.pointer.removeprefix("/use/authentications/p"), problem.message


def source(**settings: Any) -> dict[str, Any]:
    """A policy for tokens, with settings in place of its own; None: without one."""
    policy = {"authority": "http://a", "grant": "client_credentials", "client": CLIENT}
    merged = {**policy, **settings}
    return {key: value for key, value in merged.items() if value is not None}


@pytest.mark.parametrize(
    "policy",
    [
        {"basic": {"username": "jo", "password": ""}},
        {"basic": {"username": '${ .user + ":" }', "password": "${ .password }"}},
        {"bearer": {"token": "${ .token }"}},
        {"digest": {"username": "jo:e", "password": " "}},
        *(
            {scheme: {"use": "mySecret"}}
            for scheme in ("basic", "bearer", "digest", "oauth2", "oidc")
        ),
        {"oauth2": source(endpoints={"token": "/t", "revocation": "/r", "introspection": "/i"})},
        {"oauth2": source(scopes=["a"], audiences=["b"], issuers="${ .issuers }")},
        {"oidc": source(request={"encoding": "application/json"})},
        {"oidc": source(grant="${ .grant }", client={"authentication": "${ .method }"})},
        {"oidc": source(grant="password", username="jo", password="p")},
        {"oidc": source(grant="refresh_token", subject=TOKEN)},
        {"oidc": source(grant=EXCHANGE, subject=TOKEN, actor=TOKEN)},
        {"oidc": source(client={"authentication": "none"})},
        {"oidc": source(client={"id": "me"})},
        {"oidc": source(client={**CLIENT, "authentication": "client_secret_basic"})},
        {"oidc": source(client={**CLIENT, "authentication": "client_secret_jwt"})},
        {
            "oidc": source(
                client={"id": "me", "assertion": "a", "authentication": "client_secret_jwt"}
            )
        },
        {
            "oidc": source(
                client={"id": "me", "assertion": "a", "authentication": "private_key_jwt"}
            )
        },
    ],
)
def test_a_policy_is_accepted(policy: Any):
    compile_text(document({"p": policy}), TASK_KINDS)


@pytest.mark.parametrize(
    ("policy", "pointer", "message"),
    [
        ("jo", "", "expected a map, not a string"),
        ({}, "", "expected one authentication of basic, bearer, digest, oauth2, oidc"),
        ({"ntlm": {}}, "/ntlm", "unknown key 'ntlm'"),
        ({"use": "other"}, "/use", "no reference to another"),
        (
            {"basic": {"username": "a", "password": "b"}, "bearer": {"token": "c"}},
            *("/bearer", "two authentications: expected either 'basic' or 'bearer'"),
        ),
        ({"basic": {"use": "s", "username": "a"}}, "/basic/username", "two authentications"),
        ({"basic": {"use": ""}}, "/basic/use", "expected a string, not an empty string"),
        ({"basic": "s"}, "/basic", "expected a map"),
        ({"basic": {"username": "a"}}, "/basic", "'password' is required"),
        ({"basic": {"password": "a"}}, "/basic", "'username' is required"),
        (
            {"basic": {"username": "a", "password": 1}},
            "/basic/password",
            "expected a string, not 1",
        ),
        ({"basic": {"username": "a:b", "password": ""}}, "/basic/username", "no colon"),
        ({"basic": {"username": "a", "password": "", "x": 1}}, "/basic/x", "unknown key 'x'"),
        ({"bearer": {}}, "/bearer", "'token' is required"),
        ({"bearer": {"token": ""}}, "/bearer/token", "expected a string"),
        ({"digest": {"username": None, "password": ""}}, "/digest/username", "not null"),
        ({"digest": {"username": ""}}, "/digest", "'password' is required"),
    ],
)
def test_a_wrong_policy_is_refused_with_its_place(policy: Any, pointer: str, message: str):
    found = problem_of(policy)
    assert found[0] == pointer
    assert message in found[1]


@pytest.mark.parametrize(
    ("settings", "pointer", "message"),
    [
        ({"authority": None}, "", "'authority' is required"),
        ({"authority": 1}, "/authority", "expected a string"),
        ({"grant": None}, "", "'grant' is required"),
        ({"grant": "implicit"}, "/grant", "expected one of client_credentials, password"),
        ({"grant": "authorization_code"}, "/grant", "it needs a person in a browser"),
        ({"grant": "password", "username": "jo"}, "", "'password' is required by the grant 'pass"),
        ({"grant": "password", "password": "p"}, "", "'username' is required by the grant"),
        ({"grant": "refresh_token"}, "", "'subject' is required by the grant 'refresh_token'"),
        ({"grant": EXCHANGE, "actor": TOKEN}, "", "'subject' is required by the grant 'urn:"),
        ({"client": None}, "", "'client.id' is required by the client authentication"),
        ({"client": {}}, "", "'client.id' is required by the client authentication"),
        ({"client": {"id": 1}}, "/client/id", "expected a string"),
        ({"client": {"id": "a", "key": "b"}}, "/client/key", "unknown key 'key'"),
        ({"client": {"authentication": "tls"}}, "/client/authentication", "expected one of"),
        (
            {"client": {"id": "a", "authentication": "client_secret_basic"}},
            *("", "'client.secret' is required by the client authentication 'client_secret_basic'"),
        ),
        (
            {"client": {"id": "a", "authentication": "client_secret_jwt"}},
            *("", "'client.secret' is required by the client authentication 'client_secret_jwt'"),
        ),
        (
            {"client": {**CLIENT, "authentication": "private_key_jwt"}},
            *("", "'client.assertion' is required by the client authentication 'private_key_jwt'"),
        ),
        ({"request": {"encoding": "text/plain"}}, "/request/encoding", "expected one of"),
        ({"request": {"format": "x"}}, "/request/format", "unknown key 'format'"),
        ({"scopes": "a"}, "/scopes", "expected a list"),
        ({"audiences": [1]}, "/audiences/0", "expected a string"),
        ({"issuers": {}}, "/issuers", "expected a list"),
        ({"username": 1}, "/username", "expected a string"),
        ({"subject": {"token": "t"}}, "/subject", "'type' is required"),
        ({"subject": {**TOKEN, "x": 1}}, "/subject/x", "unknown key 'x'"),
        ({"actor": {"token": "", "type": "x"}}, "/actor/token", "expected a string"),
        ({"realm": "x"}, "/realm", "unknown key 'realm'"),
    ],
)
@pytest.mark.parametrize("scheme", ["oauth2", "oidc"])
def test_wrong_settings_for_tokens_are_refused_with_their_place(
    scheme: str, settings: Any, pointer: str, message: str
):
    found = problem_of({scheme: source(**settings)})
    assert found[0] == f"/{scheme}{pointer}"
    assert message in found[1]


def test_endpoints_are_those_of_oauth2():
    found = problem_of({"oauth2": source(endpoints={"userinfo": "/u"})})
    assert found[0] == "/oauth2/endpoints/userinfo"
    found = problem_of({"oauth2": source(endpoints={"token": 1})})
    assert found == ("/oauth2/endpoints/token", "expected a string, not 1")
    found = problem_of({"oidc": source(endpoints={"token": "/t"})})
    assert found[0] == "/oidc/endpoints"


def test_every_wrong_policy_is_reported():
    with pytest.raises(InvalidDocumentError) as invalid:
        compile_text(document({"a": {}, "b": {"bearer": {}}}), TASK_KINDS)
    pointers = [problem.pointer for problem in invalid.value.problems]
    assert pointers == ["/use/authentications/a", "/use/authentications/b/bearer"]
