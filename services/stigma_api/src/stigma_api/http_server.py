"""An HTTP server in the event loop of the service, with bounded connections and heads."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from stigma.runtime import ConfigurationError, Readiness, ServiceError
from stigma.runtime.reloaded_files import ReloadedFiles

_MAX_CONNECTIONS = 256
# For all that is needed before a request can be worked on, on a connection that is not at work.
_HEAD_SECONDS = 10.0
_MAX_HEAD_BYTES = 16 * 1024


class ConsoleServer:
    """Serves the console over HTTP.

    Args:
        readiness: gets the check `console`.
        app: what it serves.
        host: address to listen on.
        port: port to listen on; 0 takes a free one, see `port`.
        tls: PEM files of certificate chain and key, which may be renewed; None: in clear.
        end_streams: called when it stops: event streams would never end by themselves.
    """

    name = "console"

    def __init__(
        self,
        readiness: Readiness,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        tls: tuple[Path, Path] | None,
        end_streams: Callable[[], None],
    ) -> None:
        self.port = port
        self._readiness = readiness
        self._app = app
        self._host = host
        self._tls = tls
        self._end_streams = end_streams
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._log = structlog.get_logger()

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            ConfigurationError: the port is taken, or a TLS file cannot be read.
        """
        server = _Server(self._config())
        try:
            self._load(server.config)
        except OSError as error:  # ssl's errors are among them
            raise ConfigurationError(f"a TLS file cannot be used: {error}") from error
        listener = self._listen()
        self.port = int(listener.getsockname()[1])
        self._server = server
        self._serving = asyncio.create_task(server.serve(sockets=[listener]))
        started = asyncio.create_task(server.has_started.wait())
        await asyncio.wait({self._serving, started}, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if self._serving.done():
            self._serving.result()
        self._readiness.set(self.name, True)
        self._log.info("console_listening", url=self.url)

    @property
    def url(self) -> str:
        """The URL for a browser on this machine."""
        scheme = "http" if self._tls is None else "https"
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}/"

    async def stop(self, grace: timedelta) -> None:
        """Take no more requests, end streams, and let the answers under way end within `grace`."""
        self._readiness.set(self.name, False, "stopping")
        if self._server is None or self._serving is None:
            return
        self._end_streams()
        self._server.config.timeout_graceful_shutdown = max(1, int(grace.total_seconds()))
        self._server.should_exit = True
        await self._serving

    async def wait_failed(self) -> None:
        """Return only by raising, should the server end by itself."""
        if self._serving is not None:
            await asyncio.shield(self._serving)
        raise ServiceError("the console's server ended by itself")

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            return socket.create_server((self._host, self.port), family=family)
        except OSError as error:
            reason = str(error.strerror).partition(" (")[0]
            raise ConfigurationError(
                f"the console cannot listen on {self._host}:{self.port}: {reason}; "
                "STIGMA_CONSOLE_PORT names another port, 0 takes a free one"
            ) from error

    def _load(self, config: uvicorn.Config) -> None:
        if self._tls is None:
            config.load()
            return
        files = ReloadedFiles(self._tls, partial(_certificate_context, *self._tls))
        config.load()
        if config.ssl is not None:
            _reload_on_change(config.ssl, files)

    def _config(self) -> uvicorn.Config:
        certificate, key = self._tls or (None, None)
        return uvicorn.Config(
            self._app,
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # Of proxies that FORWARDED_ALLOW_IPS names, this machine unless it is set: they say
            # where a request comes from.
            proxy_headers=True,
            limit_concurrency=_MAX_CONNECTIONS,
            h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )


class _Server(uvicorn.Server):
    """Leaves signals to the service, and has an event for its start."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.has_started = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.has_started.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Connection(H11Protocol):
    """One of a bounded number of connections, closed when no request comes in time."""

    _late: asyncio.TimerHandle | None = None
    _unread = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > _MAX_CONNECTIONS:
            transport.abort()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._unread = 0
        self._wait()
        super().on_response_complete()  # which may begin with the next request

    def _wait(self) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late = self.loop.call_later(_HEAD_SECONDS, self._close_silent)

    def _close_silent(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            return  # at work, and waited for again when that is done
        before, self._unread = self._unread, self.transport.get_write_buffer_size()
        if self._unread and self._unread != before:
            self._wait()  # an answer is still on its way, to somebody slow
        else:
            self.transport.abort()


def _reload_on_change(context: ssl.SSLContext, files: ReloadedFiles[ssl.SSLContext]) -> None:
    """Serve the certificate in `files` as it is now, by a context of its own."""

    def choose(connection: ssl.SSLObject, _name: str, _context: ssl.SSLContext) -> None:
        files.reload_if_changed()
        connection.context = files.value

    context.sni_callback = choose


def _certificate_context(chain: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context
