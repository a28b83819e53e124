"""Basic, bearer and digest: the headers they send, and where they do not."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from services.zigflow_worker.tests.token_server import Secrets
from zigflow_worker.errors import WorkflowError
from zigflow_worker.outgoing.authentication import TokenCache, authentication_of
from zigflow_worker.outgoing.messages import (
    Authentication,
    Headers,
    HttpSender,
    OutgoingRequest,
    OutgoingResponse,
)

CALL = OutgoingRequest(method="GET", url="http://api.example/x?y=1", headers=[("A", "b")])


class NoSender(HttpSender):
    """For schemes that send nothing of their own."""

    async def send(self, request: OutgoingRequest) -> OutgoingResponse:
        raise AssertionError(request.url)


def authentication(policy: Any, secrets: Secrets | None = None) -> Authentication:
    return authentication_of(
        policy, secrets=secrets or Secrets(), sender=NoSender(), tokens=TokenCache()
    )


def problem_of(policy: Any, secrets: Secrets | None = None) -> tuple[str, int, str]:
    with pytest.raises(WorkflowError) as error:
        authentication(policy, secrets)
    problem: Any = error.value.problem
    return problem["type"].rsplit("/")[-1], problem["status"], problem["detail"]


def refusal(*challenges: str, request: OutgoingRequest = CALL) -> OutgoingResponse:
    headers = [("WWW-Authenticate", challenge) for challenge in challenges]
    return OutgoingResponse(status=401, headers=headers, body=b"", request=request)


async def sent(policy: Any, secrets: Secrets | None = None) -> Headers:
    return (await authentication(policy, secrets).apply(CALL)).headers


async def test_basic_sends_username_and_password_in_utf_8():
    policy = {"basic": {"username": "jö", "password": "a:b"}}
    basic = authentication(policy)
    parameter = base64.b64encode("jö:a:b".encode()).decode()
    assert (await basic.apply(CALL)).headers == [
        ("A", "b"),
        ("Authorization", f"Basic {parameter}"),
    ]
    assert basic.authorization == {"scheme": "Basic", "parameter": parameter}
    assert await basic.answer(CALL, refusal("Basic")) is None


async def test_the_policy_takes_the_place_of_a_header_of_the_call():
    request = OutgoingRequest(method="GET", url=CALL.url, headers=[("authorization", "Other x")])
    bearer = authentication({"bearer": {"token": "t"}})
    assert (await bearer.apply(request)).headers == [("Authorization", "Bearer t")]


@pytest.mark.parametrize(
    ("scheme", "secret", "header"),
    [
        ("basic", {"username": "jo", "password": "p", "host": "db"}, "Basic am86cA=="),
        ("bearer", {"token": "t", "more": 1}, "Bearer t"),
        ("bearer", "t", "Bearer t"),
    ],
)
async def test_a_secret_has_the_settings(scheme: str, secret: Any, header: str):
    secrets = Secrets({"ours": secret})
    headers = await sent({scheme: {"use": "ours"}}, secrets)
    assert headers == [("A", "b"), ("Authorization", header)]


@pytest.mark.parametrize(
    "policy",
    [
        {"basic": {"username": "jo", "password": "p"}},
        {"bearer": {"token": "t"}},
        {"digest": {"username": "jo", "password": "p"}},
    ],
)
async def test_a_secret_goes_to_its_hosts_only(policy: Any):
    await sent(policy, Secrets(hosts=("api.example",)))
    with pytest.raises(WorkflowError) as refused:
        await sent(policy, Secrets(hosts=("other.example",)))
    assert refused.value.problem["status"] == 403


LEAK = "leak-5e1f"


@pytest.mark.parametrize(
    ("policy", "secret", "words"),
    [
        ({"basic": {"username": None, "password": LEAK}}, None, "'username'"),
        ({"basic": {"username": f"{LEAK}:", "password": ""}}, None, "'username'"),
        ({"basic": {"username": f"{LEAK}\r\nX: y", "password": ""}}, None, "'username'"),
        ({"digest": {"username": f'{LEAK}"', "password": ""}}, None, "'username'"),
        ({"bearer": {"token": f"{LEAK}\r\nX: y"}}, None, "'token'"),
        ({"bearer": {"token": f"{LEAK} b"}}, None, "'token'"),
        ({"bearer": {"token": ["a"]}}, None, "'token'"),
        ({"bearer": {"use": "ours"}}, f"{LEAK}\nb", "the secret 'ours' as authentication 'bearer'"),
        ({"basic": {"use": "ours"}}, LEAK, "the secret 'ours' as authentication 'basic'"),
        ({"basic": {"use": "ours"}}, {"username": LEAK}, "'password': Field required"),
        ({"oauth2": {"use": "ours"}}, {"authority": LEAK}, "'grant': Field required"),
        (
            {"oauth2": {"use": "ours"}},
            {"authority": "http://a", "grant": LEAK, "client": {"id": "a"}},
            "'grant': expected one of client_credentials",
        ),
        (
            {"oidc": {"use": "ours"}},
            {"authority": "http://a", "grant": "password", "client": {"id": LEAK}},
            "'username' is required by the grant 'password'",
        ),
        (
            {"oidc": {"use": "ours"}},
            {"authority": "http://a", "grant": "client_credentials", "client": {"key": LEAK}},
            "'client.key': Extra inputs are not permitted",
        ),
        ({"ntlm": {}}, None, "of no scheme known here"),
        ({}, None, "of no scheme known here"),
        (LEAK, None, "of no scheme known here"),
    ],
)
def test_wrong_settings_are_a_configuration_error_without_them(
    policy: Any, secret: Any, words: str
):
    kind, status, detail = problem_of(policy, Secrets({"ours": secret}))
    assert (kind, status) == ("configuration", 400)
    assert words in detail
    assert LEAK not in detail


def test_a_missing_secret_is_an_authorization_error():
    assert problem_of({"basic": {"use": "absent"}})[:2] == ("authorization", 403)


DIGEST = {"digest": {"username": "jo", "password": "p"}}
MD5 = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'
SHA_256 = 'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'


@pytest.mark.parametrize(
    ("challenges", "algorithm"),
    [
        ((MD5,), "MD5"),
        ((MD5, 'Basic realm="r"', SHA_256), "SHA-256"),
        (('Digest realm="r", nonce="n", algorithm=SHA-512', MD5), "MD5"),
        ((f'Basic realm="r", {MD5}',), "MD5"),
        (('Digest realm="r", nonce="n"',), "MD5"),
    ],
)
async def test_digest_answers_the_best_challenge(challenges: Any, algorithm: str):
    digest = authentication(DIGEST)
    assert await digest.apply(CALL) == CALL
    again = await digest.answer(CALL, refusal(*challenges))
    assert again is not None
    name, value = again.headers[-1]
    assert name == "Authorization"
    assert value.startswith('Digest username="jo", realm="r", nonce="n", uri="/x?y=1", response="')
    assert f"algorithm={algorithm}" in value
    assert digest.authorization == {"scheme": "Digest", "parameter": value.removeprefix("Digest ")}


@pytest.mark.parametrize(
    "challenge",
    [
        'Digest realm="r", nonce="n", algorithm=SHA-512',
        'Digest realm="r", nonce="n", qop="auth-int"',
        'Digest realm="r", nonce="n", qop="other"',
        'Digest realm="r"',
        "Digest nonsense",
    ],
)
async def test_a_challenge_that_cannot_be_answered_is_an_authentication_error(challenge: str):
    with pytest.raises(WorkflowError) as error:
        await authentication(DIGEST).answer(CALL, refusal(challenge))
    assert error.value.problem["status"] == 401


async def test_digest_gives_up_where_nothing_or_another_origin_asks():
    digest = authentication(DIGEST)
    assert await digest.answer(CALL, refusal('Basic realm="r"')) is None
    for url in ("http://evil.example/x", "https://api.example/x", "http://api.example:81/x"):
        elsewhere = OutgoingRequest(method="GET", url=url)
        assert await digest.answer(CALL, refusal(MD5, request=elsewhere)) is None
    same = OutgoingRequest(method="GET", url="http://API.example:80/other")
    assert await digest.answer(CALL, refusal(MD5, request=same)) is not None
