"""The admin port: `/livez`, `/readyz` and `/metrics` over plain HTTP, loopback by default.

It runs in the service's own event loop on purpose: a loop that is stuck answers no liveness probe.
"""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Callable
from http import HTTPStatus

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from stigma.runtime.health import Readiness

_REQUEST_TIMEOUT = 5.0
_SDK_TIMEOUT = 2.0
_MAX_CONNECTIONS = 32
_MAX_REQUEST_BYTES = 8 * 1024

_Response = tuple[HTTPStatus, str, bytes]


class AdminServer:
    """Serves health and metrics of one service.

    Args:
        host: address to listen on.
        port: port to listen on; 0 takes a free one, see `port`.
        readiness: what `/readyz` answers.
        metrics: what `/metrics` answers.
        sdk_metrics: address (`host:port`) of the Temporal SDK's own exporter, appended to
            `/metrics`; None as long as there is none.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        readiness: Readiness,
        metrics: CollectorRegistry,
        sdk_metrics: Callable[[], str | None],
    ) -> None:
        self._host, self._port = host, port
        self._readiness = readiness
        self._metrics = metrics
        self._sdk_metrics = sdk_metrics
        self._slots = asyncio.Semaphore(_MAX_CONNECTIONS)
        self._server: asyncio.Server | None = None
        self._log = structlog.get_logger()

    @property
    def port(self) -> int:
        """The port listened on, once started."""
        if self._server is None:
            return self._port
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Open the port.

        Raises:
            OSError: the port is taken, or the address is none of this machine's.
        """
        self._server = await asyncio.start_server(
            self._serve, self._host, self._port, limit=_MAX_REQUEST_BYTES
        )
        self._log.info("admin_listening", host=self._host, port=self.port)

    async def stop(self) -> None:
        """Close the port; requests under way are still answered."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not self._slots.locked():
                async with self._slots, asyncio.timeout(_REQUEST_TIMEOUT):
                    await self._exchange(reader, writer)
        except (
            TimeoutError,
            ConnectionError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
        ):
            self._log.debug("admin_request_dropped")
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method not in {"GET", "HEAD"}:
            status, kind, body = _text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD\n")
        else:
            status, kind, body = await self._answer(path)
        writer.write(
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\n"
            "Connection: close\r\n\r\n".encode("latin-1")
        )
        if method != "HEAD":
            writer.write(body)
        await writer.drain()

    async def _answer(self, path: str) -> _Response:
        if path == "/livez":
            return _text(HTTPStatus.OK, "alive\n")
        if path == "/readyz":
            return self._readyz()
        if path == "/metrics":
            own = generate_latest(self._metrics)
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, own + await self._sdk_lines()
        return _text(HTTPStatus.NOT_FOUND, "/livez, /readyz, /metrics\n")

    def _readyz(self) -> _Response:
        ready = self._readiness.ready
        report = {
            "ready": ready,
            "checks": {
                name: {"ready": check.ready} | ({"reason": check.reason} if check.reason else {})
                for name, check in self._readiness.checks.items()
            },
        }
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "application/json", json.dumps(report).encode() + b"\n"

    async def _sdk_lines(self) -> bytes:
        address = self._sdk_metrics()
        if address is None:
            return b""
        try:
            return await asyncio.to_thread(_fetch, address)
        except (OSError, http.client.HTTPException) as error:
            self._log.warning("sdk_metrics_missing", error=str(error))
            return b""


def _fetch(address: str) -> bytes:
    connection = http.client.HTTPConnection(address, timeout=_SDK_TIMEOUT)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read()
    finally:
        connection.close()


def _text(status: HTTPStatus, text: str) -> _Response:
    return status, "text/plain; charset=utf-8", text.encode()
