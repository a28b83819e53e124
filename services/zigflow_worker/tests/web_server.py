"""Web servers of this process, on ports of their own."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import Response

Answer = Callable[[Request], Awaitable[Response]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Seen:
    """One request that a server got."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class WebServer:
    """Answers as its routes say, and keeps what it was sent."""

    port: int
    scheme: str = "http"
    host: str = "127.0.0.1"
    routes: dict[str, Answer] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    def answer(self, path: str, body: bytes | str = b"", **response: Any) -> None:
        """Answer a path with a response."""

        async def send(_: Request) -> Response:
            return Response(body, **response)

        self.routes[path] = send

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        self.seen.append(
            Seen(
                method=request.method,
                path=request.scope["raw_path"].decode(),
                query=request.url.query,
                headers=dict(request.headers),
                body=await request.body(),
            )
        )
        answer = self.routes.get(request.url.path)
        return Response(status_code=404) if answer is None else await answer(request)


@asynccontextmanager
async def web_server(
    certificate: tuple[str, str] | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[WebServer]:
    """Serve; with a certificate (files of it and of its key) by TLS."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    web = WebServer(port, "https" if certificate else "http", host)
    file, key = certificate or (None, None)
    config = uvicorn.Config(
        web,
        lifespan="off",
        log_config=None,
        access_log=False,
        ssl_certfile=file,
        ssl_keyfile=key,
        timeout_graceful_shutdown=5,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    yield web
    server.should_exit = True
    await serving


@asynccontextmanager
async def raw_server(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve connections by hand; yields the URL. Connections still open are cut at the end."""
    talks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            talks.discard(task)
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    server.close()
    for task in talks:
        task.cancel()
