"""OAuth2 and OpenID Connect: what token endpoints get, and what is made of their answers."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
import jwt
import pytest
from starlette.responses import JSONResponse, Response

from services.zigflow_worker.tests.token_server import CALL, CLIENT, Secrets, Sender, TokenCaller
from zigflow_worker.errors import WorkflowError
from zigflow_worker.outgoing.authentication import authentication_of
from zigflow_worker.outgoing.messages import OutgoingRequest

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.mark.parametrize(
    ("client", "sent"),
    [
        (CLIENT, {"client_id": "me", "client_secret": "s" * 32}),
        ({"id": "me"}, {"client_id": "me"}),
        ({"id": "me", "authentication": "none"}, {"client_id": "me"}),
        ({"authentication": "none"}, {}),
        (
            {"id": "me", "assertion": "a.b.c", "authentication": "private_key_jwt"},
            {"client_id": "me", "client_assertion_type": JWT_TYPE, "client_assertion": "a.b.c"},
        ),
        (
            {"id": "me", "assertion": "a.b.c", "authentication": "client_secret_jwt"},
            {"client_id": "me", "client_assertion_type": JWT_TYPE, "client_assertion": "a.b.c"},
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["application/x-www-form-urlencoded", "application/json"])
async def test_the_client_is_authenticated_in_the_body(
    client: Any, sent: Any, encoding: str, token_caller: TokenCaller
):
    await token_caller.token(client=client, request={"encoding": encoding})
    (request,) = token_caller.server.requests
    assert request.url.path == "/oauth2/token"
    assert request.headers["content-type"] == encoding
    assert "authorization" not in request.headers
    assert token_caller.server.parameters == [{"grant_type": "client_credentials", **sent}]


async def test_client_secret_basic_encodes_id_and_secret_as_forms_do(token_caller: TokenCaller):
    client = {"id": "my id", "secret": "a:b/ü", "authentication": "client_secret_basic"}
    await token_caller.token(client=client)
    scheme, parameter = token_caller.server.requests[0].headers["authorization"].split(" ")
    assert (scheme, base64.b64decode(parameter)) == ("Basic", b"my+id:a%3Ab%2F%C3%BC")
    assert token_caller.server.parameters == [{"grant_type": "client_credentials"}]


async def test_client_secret_jwt_signs_an_assertion_for_the_endpoint(token_caller: TokenCaller):
    await token_caller.token(client={**CLIENT, "authentication": "client_secret_jwt"})
    (sent,) = token_caller.server.parameters
    endpoint = f"{token_caller.server.url}/oauth2/token"
    claims = jwt.decode(sent["client_assertion"], "s" * 32, ["HS256"], audience=endpoint)
    assert (claims["iss"], claims["sub"]) == ("me", "me")
    assert claims["exp"] - claims["iat"] == 60
    assert "client_secret" not in sent


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({"scopes": ["a", "b"]}, {"scope": "a b"}),
        ({"audiences": ["x"]}, {"audience": "x"}),
        ({"audiences": ["x", "y"]}, {"audience": ["x", "y"]}),
        (
            {"grant": "password", "username": "jo", "password": " & "},
            {"grant_type": "password", "username": "jo", "password": " & "},
        ),
        (
            {"grant": "refresh_token", "subject": {"token": "r", "type": "refresh_token"}},
            {"grant_type": "refresh_token", "refresh_token": "r"},
        ),
        (
            {
                "grant": EXCHANGE,
                "subject": {"token": "s", "type": ACCESS_TOKEN},
                "actor": {"token": "a", "type": ACCESS_TOKEN},
            },
            {
                "grant_type": EXCHANGE,
                "subject_token": "s",
                "subject_token_type": ACCESS_TOKEN,
                "actor_token": "a",
                "actor_token_type": ACCESS_TOKEN,
            },
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["application/x-www-form-urlencoded", "application/json"])
async def test_each_grant_sends_its_parameters(
    settings: Any, sent: Any, encoding: str, token_caller: TokenCaller
):
    client = {"authentication": "none"}
    await token_caller.token(client=client, request={"encoding": encoding}, **settings)
    assert token_caller.server.parameters == [{"grant_type": "client_credentials", **sent}]


@pytest.mark.parametrize(
    ("authority", "endpoints", "path"),
    [
        ("", None, "/oauth2/token"),
        ("/realms/r/", None, "/realms/r/oauth2/token"),
        ("/realms/r", {"token": "auth/token"}, "/realms/r/auth/token"),
        ("/realms/r/", {"token": "/auth/token", "revocation": "/x"}, "/realms/r/auth/token"),
        ("/{r}", {"token": {"uriTemplate": "/{t}", "uriValues": {"t": "a/b"}}}, "/{r}/a%2Fb"),
    ],
)
async def test_the_endpoint_is_appended_to_the_authority(
    authority: str, endpoints: Any, path: str, token_caller: TokenCaller
):
    await token_caller.token(authority=token_caller.server.url + authority, endpoints=endpoints)
    assert token_caller.server.requests[0].scope["raw_path"].decode() == path.replace(
        "{r}", "%7Br%7D"
    )


@pytest.mark.parametrize("suffix", ["", "/", "/.well-known/openid-configuration"])
async def test_the_token_endpoint_is_discovered_once(suffix: str, token_caller: TokenCaller):
    for client in (CLIENT, {"id": "another"}):
        authority = f"{token_caller.server.url}/realms/r{suffix}"
        await token_caller.token("oidc", authority=authority, client=client)
    paths = [request.url.path for request in token_caller.server.requests]
    assert paths == ["/realms/r/.well-known/openid-configuration", "/tok", "/tok"]


async def test_a_provider_without_a_token_endpoint_is_a_configuration_error(
    token_caller: TokenCaller,
):
    token_caller.server.configuration = {"issuer": "x"}
    assert (await token_caller.problem("oidc"))[:2] == ("configuration", 400)


async def test_a_provider_that_is_none_is_a_communication_error(token_caller: TokenCaller):
    token_caller.server.configuration = Response("no JSON")
    assert (await token_caller.problem("oidc"))[:2] == ("communication", 500)
    token_caller.server.configuration = Response(status_code=404)
    assert (await token_caller.problem("oidc"))[:2] == ("communication", 404)


class InsecureProvider(Sender):
    async def send(self, request: OutgoingRequest) -> Any:
        plain = OutgoingRequest(method="GET", url=request.url.replace("https:", "http:"))
        return await super().send(plain)


@pytest.mark.parametrize(
    ("endpoint", "problem"), [("http://x/tok", "insecure"), ("//[x", "not a"), ("/tok", "not an")]
)
async def test_a_secure_provider_names_a_secure_endpoint(
    endpoint: str, problem: str, token_caller: TokenCaller
):
    token_caller.server.configuration = {"token_endpoint": endpoint}
    async with httpx2.AsyncClient() as client:
        token_caller.sender = InsecureProvider(client)
        authority = token_caller.server.url.replace("http:", "https:")
        kind, status, detail = await token_caller.problem("oidc", authority=authority)
    assert (kind, status) == ("configuration", 400)
    assert problem in detail
    assert len(token_caller.server.requests) == 1


def token_of(issuer: str) -> str:
    return jwt.encode({"iss": issuer}, "k" * 32, "HS256")


@pytest.mark.parametrize(
    "answer",
    [
        {"access_token": token_of("https://a.example")},
        {"access_token": "opaque", "id_token": token_of("https://b.example")},
    ],
)
async def test_a_token_of_a_valid_issuer_serves(answer: Any, token_caller: TokenCaller):
    token_caller.server.extra = answer
    issuers = ["https://a.example", "https://b.example"]
    assert await token_caller.token(issuers=issuers) == answer["access_token"]


@pytest.mark.parametrize("answer", [{"access_token": token_of("https://evil.example")}, {}])
async def test_a_token_of_another_issuer_or_of_none_is_refused(
    answer: Any, token_caller: TokenCaller
):
    token_caller.server.extra = answer
    kind, status, detail = await token_caller.problem(issuers=["https://a.example"])
    assert (kind, status) == ("authentication", 401)
    assert "issuers" in detail
    assert "evil" not in detail


SECRET_ECHO = {"error": "s" * 32, "error_description": "s" * 32}


@pytest.mark.parametrize(
    ("answer", "kind", "status", "words"),
    [
        (JSONResponse({"error": "invalid_client"}, 401), "authentication", 401, "invalid_client"),
        (JSONResponse(SECRET_ECHO, 400), "authentication", 401, "status 400"),
        (JSONResponse([1], 403), "authentication", 401, "status 403"),
        (Response("s" * 32, 404), "authentication", 401, "status 404"),
        (Response("later", 429), "communication", 429, "status 429"),
        (Response("broken", 503), "communication", 503, "status 503"),
        (Response("", 302, {"location": "/"}), "communication", 302, "status 302"),
        (Response("s" * 32), "communication", 500, "JSON object"),
        (JSONResponse(["s" * 32]), "communication", 500, "JSON object"),
        (Response("[" * 200_000), "communication", 500, "JSON object"),
        (JSONResponse({"secret": "s" * 32}), "authentication", 401, "no access token"),
        (JSONResponse({"access_token": 5}), "authentication", 401, "no access token"),
        (JSONResponse({"access_token": "a\r\nX: y"}), "authentication", 401, "no access token"),
        (JSONResponse({"access_token": ""}), "authentication", 401, "no access token"),
        (
            JSONResponse({"access_token": "t", "token_type": "DPoP"}),
            *("authentication", 401, "other than Bearer"),
        ),
    ],
)
async def test_a_refusal_says_why_without_the_endpoints_words(
    answer: Response, kind: str, status: int, words: str, token_caller: TokenCaller
):
    token_caller.server.answer = lambda parameters: answer
    problem = await token_caller.problem()
    assert problem[:2] == (kind, status)
    assert words in problem[2]
    assert "127.0.0.1" in problem[2]
    assert "sss" not in problem[2]
    assert len(token_caller.server.parameters) == 1


async def test_a_secret_goes_to_the_token_endpoints_host_only(token_caller: TokenCaller):
    settings: Any = {
        "authority": token_caller.server.url,
        "grant": "client_credentials",
        "client": CLIENT,
    }
    token_caller.secrets = Secrets({"ours": settings}, hosts=("127.0.0.1",))
    authentication = authentication_of(
        {"oauth2": {"use": "ours"}},
        secrets=token_caller.secrets,
        sender=token_caller.sender,
        tokens=token_caller.tokens,
    )
    await authentication.apply(CALL)
    assert authentication.authorization == {"scheme": "Bearer", "parameter": "token-1"}
    token_caller.secrets.hosts = ("elsewhere.example",)
    with pytest.raises(WorkflowError) as refused:
        await authentication.apply(CALL)
    assert refused.value.problem["status"] == 403
    assert len(token_caller.server.parameters) == 1
