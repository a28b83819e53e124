"""The outside world of the kit and the examples: what their hosts would answer.

Answers depend on the request alone, except that a pet named `flaky-…` is unavailable once.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Host, Route, Router

from tests.conformance.certificates import Certificates

TLS_HOSTS = (
    *("petstore.swagger.io", "httpbin.org", "swapi.dev", "fake.com", "fake-hospital.com"),
    *("superbet-casinos.com", "external-service.example.com"),
)
PLAIN_HOSTS = ("keycloak",)
GREETER = "localhost:5011"
"""The gRPC service of an example."""

TOKEN = "token-of-the-realm"
PROTECTED_PETS = {
    "bearer": "Bearer token-of-bearer",
    "reusable": "Bearer token-of-reusable",
    "oauth2": f"Bearer {TOKEN}",
    "oauth2-secret": f"Bearer {TOKEN}",
    "oidc": f"Bearer {TOKEN}",
    "oidc-secret": f"Bearer {TOKEN}",
}
"""Pets that only requests with this `authorization` get."""
CLIENTS = {"workflow-runtime-id": "workflow-runtime-secret", "secret-id": "secret-secret"}
PETS = {"1": 1, "2": 2, "69": 69}


@dataclass(frozen=True)
class Received:
    """One request."""

    host: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class StandIns:
    """Servers of this process, and the requests that they got."""

    tls_port: int = 0
    plain_port: int = 0
    grpc_port: int = 0
    authority: Path = Path()
    """File of the authority that signed the certificate."""
    received: list[Received] = field(default_factory=list)
    unavailable: set[str] = field(default_factory=set)
    nurses_called: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def connect_to(self) -> str:
        """A value of `STIGMA_OUTGOING_CONNECT_TO`."""
        ports = [(f"{host}:443", self.tls_port) for host in TLS_HOSTS]
        ports += [(f"{host}:80", self.plain_port) for host in PLAIN_HOSTS]
        ports.append((GREETER, self.grpc_port))
        return ",".join(f"{name}:127.0.0.1:{port}" for name, port in ports)

    def requests(self, method: str, url: str) -> list[Received]:
        """The requests to a host and path, without scheme and query."""
        return [one for one in self.received if (one.method, one.host + one.path) == (method, url)]

    async def keep(self, request: Request) -> None:
        self.received.append(
            Received(
                host=request.url.hostname or "",
                method=request.method,
                path=request.scope["raw_path"].decode(),
                query=request.url.query,
                headers=dict(request.headers),
                body=await request.body(),
            )
        )

    async def pet(self, request: Request) -> Response:
        name = request.path_params["id"]
        wanted = PROTECTED_PETS.get(name)
        if wanted is not None and request.headers.get("authorization") != wanted:
            return Response(status_code=401)
        if name.startswith("flaky-") and name not in self.unavailable:
            self.unavailable.add(name)
            return Response(status_code=503)
        if name not in PETS and wanted is None and not name.startswith("flaky-"):
            return Response(status_code=404)
        return JSONResponse({"id": PETS.get(name, name), "name": "Rex", "status": "available"})

    async def nurses(self, _: Request) -> Response:
        self.nurses_called.set()
        await asyncio.Event().wait()  # the doctor wins
        return Response()

    async def doctor(self, request: Request) -> Response:
        await self.nurses_called.wait()  # both are called at once: neither need be the first
        return JSONResponse({"called": "doctor", **await request.json()})


async def no_such_pet(_: Request) -> Response:
    return JSONResponse({"message": "Pet not found"}, 404)


async def find_by_status(request: Request) -> Response:
    if request.query_params.get("status") != "available":
        return JSONResponse([])
    return JSONResponse([{"id": 1, "name": "Rex", "status": "available"}])


async def sell_pet(request: Request) -> Response:
    return JSONResponse(await request.json())


async def swagger(_: Request) -> Response:
    return JSONResponse(PETSTORE)


async def basic_auth(request: Request) -> Response:
    user, password = request.path_params["user"], request.path_params["password"]
    wanted = base64.b64encode(f"{user}:{password}".encode()).decode()
    allowed = request.headers.get("authorization") == f"Basic {wanted}"
    return JSONResponse({"authenticated": True, "user": user}, 200 if allowed else 401)


async def people(request: Request) -> Response:
    if request.query_params.get("search") == "moved":
        return RedirectResponse("/api/people/?search=luke", status_code=302)
    found = [{"name": "Luke Skywalker"}] if request.query_params.get("search") == "luke" else []
    return JSONResponse({"count": len(found), "results": found})


async def person(_: Request) -> Response:
    return JSONResponse({"name": "Luke Skywalker", "homeworld": "https://swapi.dev/api/planets/1/"})


async def planet(_: Request) -> Response:
    return JSONResponse({"name": "Tatooine"})


async def sample(_: Request) -> Response:
    return JSONResponse({"real": True})


async def bet(request: Request) -> Response:
    return JSONResponse({"accepted": await request.json()})


async def unavailable(_: Request) -> Response:
    return Response(status_code=503)


async def discovery(_: Request) -> Response:
    realm = "http://keycloak/realms/fake-authority"
    return JSONResponse({"issuer": realm, "token_endpoint": f"{realm}/oidc/token"})


async def token(request: Request) -> Response:
    form = await request.form()
    name, secret = str(form.get("client_id", "")), form.get("client_secret")
    if form.get("grant_type") != "client_credentials" or CLIENTS.get(name) != secret:
        return JSONResponse({"error": "invalid_client"}, 401)
    return JSONResponse({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 300})


def _schema(name: str, place: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "required": True, **schema}


_STATUS = _schema(
    "status", "query", type="array", items={"type": "string"}, collectionFormat="multi"
)
PETSTORE = {
    "swagger": "2.0",
    "info": {"title": "Petstore", "version": "1"},
    "host": "petstore.swagger.io",
    "basePath": "/v2",
    "schemes": ["https", "http"],
    "securityDefinitions": {"api_key": {"type": "apiKey", "name": "api_key", "in": "header"}},
    "paths": {
        "/pet/findByStatus": {
            "get": {
                "operationId": "findPetsByStatus",
                "produces": ["application/json"],
                "parameters": [_STATUS],
                "responses": {"200": {"description": "found"}},
            }
        },
        "/pet/{petId}": {
            "get": {
                "operationId": "getPetById",
                "produces": ["application/json"],
                "parameters": [_schema("petId", "path", type="integer", format="int64")],
                "responses": {"200": {"description": "found"}},
                "security": [{"api_key": []}],
            }
        },
    },
}

_Answer = Callable[[Request], Awaitable[Response]]


def _hosts(stand_ins: StandIns) -> Iterator[tuple[str, str, str, _Answer]]:
    pets = "/v2/pet"
    yield "petstore.swagger.io", "GET", "/v2/swagger.json", swagger
    yield "petstore.swagger.io", "GET", f"{pets}/findByStatus", find_by_status
    yield "petstore.swagger.io", "GET", f"{pets}/{{id}}", stand_ins.pet
    yield "petstore.swagger.io", "GET", f"{pets}/getPetByName/{{name}}", no_such_pet
    yield "petstore.swagger.io", "PUT", f"{pets}/{{id:path}}", sell_pet
    yield "httpbin.org", "GET", "/basic-auth/{user}/{password}", basic_auth
    yield "swapi.dev", "GET", "/api/people/", people
    yield "swapi.dev", "GET", "/api/people/1", person
    yield "swapi.dev", "GET", "/api/planets/1/", planet
    yield "fake.com", "GET", "/sample", sample
    yield "fake-hospital.com", "PUT", "/api/v3/alert/nurses", stand_ins.nurses
    yield "fake-hospital.com", "PUT", "/api/v3/alert/doctor", stand_ins.doctor
    yield "superbet-casinos.com", "POST", "/api/bet/on/football", bet
    yield "external-service.example.com", "GET", "/api", unavailable
    realm = "/realms/fake-authority"
    yield "keycloak", "GET", f"{realm}/.well-known/openid-configuration", discovery
    yield "keycloak", "POST", f"{realm}/auth/token", token
    yield "keycloak", "POST", f"{realm}/oauth2/token", token  # the default, as in the secret
    yield "keycloak", "POST", f"{realm}/oidc/token", token


def _application(stand_ins: StandIns) -> Starlette:
    def kept(answer: _Answer) -> _Answer:
        async def keep_and_answer(request: Request) -> Response:
            await stand_ins.keep(request)
            return await answer(request)

        return keep_and_answer

    routes: dict[str, list[Route]] = {}
    for host, method, path, answer in _hosts(stand_ins):
        routes.setdefault(host, []).append(Route(path, kept(answer), methods=[method]))
    return Starlette(routes=[Host(host, Router(list(own))) for host, own in routes.items()])


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def _serve(app: Starlette, **options: Any) -> AsyncIterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = _Server(uvicorn.Config(app, lifespan="off", log_config=None, **options))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    yield listening.getsockname()[1]
    server.should_exit = server.force_exit = True
    await serving


@asynccontextmanager
async def _greeter() -> AsyncIterator[int]:
    """Serve `GreeterApi.Greeter/SayHello`: its response has the request's name as its message."""

    async def say_hello(request: bytes, _: Any) -> bytes:
        return request  # field 1 of either is the text

    server = grpc.aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(say_hello)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("GreeterApi.Greeter", {"SayHello": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(grace=None)


@asynccontextmanager
async def stand_ins(certificates: Certificates) -> AsyncIterator[StandIns]:
    """Serve all hosts."""
    outside = StandIns()
    app = _application(outside)
    files = {"ssl_certfile": certificates.certificate, "ssl_keyfile": certificates.key}
    async with _serve(app, **files) as tls, _serve(app) as plain, _greeter() as greeter:
        outside.tls_port, outside.plain_port, outside.grpc_port = tls, plain, greeter
        yield outside
