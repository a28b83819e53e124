"""A token endpoint and an OpenID provider that keep what they get, and a sender for them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typing_extensions import override

from zigflow_worker.errors import AUTHORIZATION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.outgoing.authentication import PolicySecrets, TokenCache, authentication_of
from zigflow_worker.outgoing.messages import (
    Authentication,
    HttpSender,
    OutgoingRequest,
    OutgoingResponse,
)

CLIENT = {"id": "me", "secret": "s" * 32}
CALL = OutgoingRequest(method="GET", url="http://resource.example/x")


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    """The URL of an app that is served over HTTP in this loop."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app, log_config=None, lifespan="off", access_log=False, timeout_graceful_shutdown=5
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await task


@dataclass
class TokenServer:
    """Gives `token-1`, `token-2` and so on at every path, but for the provider's configuration."""

    requests: list[Request] = field(default_factory=list)
    parameters: list[dict[str, Any]] = field(default_factory=list)
    """Those of each request for a token."""
    extra: dict[str, Any] = field(default_factory=lambda: {"expires_in": 300})
    """Added to each response."""
    answer: Callable[[dict[str, Any]], Response | None] = lambda parameters: None
    """Answers in place of the server, unless it returns None."""
    configuration: Mapping[str, Any] | Response | None = None
    """The provider's; None: one that names this server."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first request for a token."""
    hold: asyncio.Event | None = None
    """Answers wait for it."""
    url: str = ""

    def reset(self) -> None:
        """Be as new, at the same URL."""
        vars(self).update(vars(TokenServer(url=self.url)))

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/{path:path}/openid-configuration", self._configuration),
                Route("/{path:path}", self._token, methods=["POST"]),
            ]
        )

    async def _configuration(self, request: Request) -> Response:
        self.requests.append(request)
        if isinstance(self.configuration, Response):
            return self.configuration
        found = {"token_endpoint": f"{self.url}/tok"}
        return JSONResponse(found if self.configuration is None else self.configuration)

    async def _token(self, request: Request) -> Response:
        self.requests.append(request)
        body = (await request.body()).decode()
        if request.headers["content-type"] == "application/json":
            parameters = json.loads(body)
        else:
            parsed = parse_qs(body, strict_parsing=True, keep_blank_values=True)
            parameters = {key: one[0] if len(one) == 1 else one for key, one in parsed.items()}
        self.parameters.append(parameters)
        self.asked.set()
        number = len(self.parameters)
        if self.hold is not None:
            await self.hold.wait()
        token = {"access_token": f"token-{number}", "token_type": "bearer", **self.extra}
        return self.answer(parameters) or JSONResponse(token)


class Sender(HttpSender):
    """Sends without a policy."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    @override
    async def send(self, request: OutgoingRequest) -> OutgoingResponse:
        response = await self._client.request(
            request.method,
            request.url,
            headers=list(request.headers),
            content=request.body,
            follow_redirects=request.follow,
        )
        return OutgoingResponse(
            status=response.status_code,
            headers=response.headers.multi_items(),
            body=response.content,
            request=request,
        )


@dataclass
class Secrets(PolicySecrets):
    """Secrets in memory, which may go to `hosts`; None: to any."""

    values: dict[str, JSON] = field(default_factory=dict)
    hosts: tuple[str, ...] | None = None

    @override
    def value(self, name: str) -> JSON:
        if name not in self.values:
            raise WorkflowError.of(AUTHORIZATION, f"the secret '{name}' is missing")
        return self.values[name]

    @override
    def check_host(self, host: str) -> None:
        if self.hosts is not None and host not in self.hosts:
            raise WorkflowError.of(AUTHORIZATION, f"a secret may not go to '{host}'")


class TokenCaller:
    """Makes authentications that share one cache, for the server."""

    def __init__(self, server: TokenServer, sender: Sender) -> None:
        self.server = server
        self.sender = sender
        self.tokens = TokenCache()
        self.secrets = Secrets()

    def authentication(self, scheme: str = "oauth2", **settings: Any) -> Authentication:
        policy: dict[str, Any] = {
            "authority": self.server.url,
            "grant": "client_credentials",
            "client": CLIENT,
            **settings,
        }
        policy = {key: value for key, value in policy.items() if value is not None}
        return authentication_of(
            {scheme: policy}, secrets=self.secrets, sender=self.sender, tokens=self.tokens
        )

    async def token(self, scheme: str = "oauth2", **settings: Any) -> str:
        """The parameter of the header that a call gets."""
        request = await self.authentication(scheme, **settings).apply(CALL)
        (header,) = request.headers
        assert header[0] == "Authorization"
        scheme, _, parameter = header[1].partition(" ")
        assert scheme == "Bearer"
        return parameter

    async def problem(self, scheme: str = "oauth2", **settings: Any) -> tuple[str, int, str]:
        """Type, status and detail of the error."""
        with pytest.raises(WorkflowError) as error:
            await self.token(scheme, **settings)
        problem: Mapping[str, Any] = error.value.problem
        return problem["type"].rsplit("/")[-1], problem["status"], problem["detail"]
