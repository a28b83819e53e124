"""What the AI worker's tests share: a local model server, and activities under test."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from temporalio.testing import ActivityEnvironment

from ai_worker.models.activity import ModelCalls
from ai_worker.models.caller import ModelCaller
from ai_worker.models.catalog import Catalog, build_catalog
from ai_worker.models.metrics import ModelCallMetrics
from ai_worker.resources import ProviderResource
from stigma.internal.v1.execution_pb2 import ModelCallRequest, ModelCallResponse

KEY = "sk-super-secret-key-4711"


@dataclass
class Received:
    """One request as the server saw it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Reply:
    """What the server answers; `hang` answers nothing until the client goes away."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    raw: bytes | None = None
    """The body as it is sent."""
    endless: bytes = b""
    """Sent again and again after `raw`, until the client goes away."""
    kind: str = "application/json"

    def encode(self, stream: bool) -> bytes:
        if self.raw is not None:
            lines = [f"HTTP/1.1 {self.status} Status", f"content-type: {self.kind}"]
            lines += [f"{name}: {value}" for name, value in self.headers.items()]
            lines.append("connection: close")
            return ("\r\n".join(lines) + "\r\n\r\n").encode() + self.raw
        body = self.body if isinstance(self.body, str) else json.dumps(self.body)
        kind = "application/json"
        if stream and self.status == 200:
            body, kind = _event_stream(self.body), "text/event-stream"
        lines = [f"HTTP/1.1 {self.status} Status", f"content-type: {kind}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines.append(f"content-length: {len(body.encode())}")
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def _event_stream(message: dict[str, Any]) -> str:
    """Anthropic's events for a message, as it sends them when asked to stream."""
    usage = message["usage"]
    head = message | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": head}]
    for index, block in enumerate(message["content"]):
        events += [{"index": index} | event for event in _block_events(block)]
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    used = {"output_tokens": usage["output_tokens"]}
    events += [{"type": "message_delta", "delta": delta, "usage": used}, {"type": "message_stop"}]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


def _block_events(block: dict[str, Any]) -> list[dict[str, Any]]:
    fields = {"text": "text_delta", "thinking": "thinking_delta", "signature": "signature_delta"}
    deltas = [
        {"type": "content_block_delta", "delta": {"type": kind, name: block[name]}}
        for name, kind in fields.items()
        if name in block
    ]
    start = {name: "" if name in fields else value for name, value in block.items()}
    return [
        {"type": "content_block_start", "content_block": start},
        *deltas,
        {"type": "content_block_stop"},
    ]


class ModelServer:
    """A real HTTP server that plays replies in order; the last one repeats."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.received = asyncio.Event()
        self.disconnected = asyncio.Event()
        self._replies: list[Reply] = []
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def reply(self, body: Any = None, **how: Any) -> None:
        """Add an answer: `status`, `headers`, or `hang`."""
        self._replies.append(Reply(body, **how))

    def openai(self, **changes: Any) -> ProviderResource:
        values: dict[str, Any] = {
            "name": "local",
            "type": "openai-compatible",
            "base_url": f"{self.url}/v1",
            "api_key": SecretStr(KEY),
        }
        return ProviderResource(**(values | changes))

    def anthropic(self, **changes: Any) -> ProviderResource:
        values: dict[str, Any] = {
            "name": "claude",
            "type": "anthropic",
            "base_url": self.url,
            "api_key": SecretStr(KEY),
        }
        return ProviderResource(**(values | changes))

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read_request(reader)) is not None:
                self.requests.append(request)
                self.received.set()
                reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
                if reply.hang:
                    await reader.read()
                    break
                writer.write(reply.encode(request.body.get("stream", False)))
                await writer.drain()
                while reply.endless:
                    writer.write(reply.endless)
                    await writer.drain()
                if reply.raw is not None:
                    break
        except ConnectionError:
            pass
        finally:
            self.disconnected.set()
            writer.close()


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head[1:] if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(head[0].split()[1], headers, json.loads(body))


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    server = ModelServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def other_server() -> AsyncIterator[ModelServer]:
    server = ModelServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def key() -> str:
    return KEY


@dataclass
class Bench:
    """A worker's activity with its catalog and metrics, and an environment to run it in."""

    catalog: Catalog
    registry: CollectorRegistry
    caller: ModelCaller
    calls: ModelCalls
    environment: ActivityEnvironment

    async def call(self, request: ModelCallRequest, attempt: int = 1) -> ModelCallResponse:
        self.environment.info = replace(ActivityEnvironment.default_info(), attempt=attempt)
        return await self.environment.run(self.calls.call_model, request)

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


NewBench = Callable[..., Awaitable[Bench]]


@pytest.fixture
async def new_bench() -> AsyncIterator[NewBench]:
    catalogs: list[Catalog] = []

    async def new(*resources: ProviderResource) -> Bench:
        catalog = build_catalog(resources, max_connections=4)
        catalogs.append(catalog)
        registry = CollectorRegistry()
        caller = ModelCaller(catalog, ModelCallMetrics(registry))
        return Bench(catalog, registry, caller, ModelCalls(caller), ActivityEnvironment())

    yield new
    for catalog in catalogs:
        await catalog.close()


@pytest.fixture
def log_text() -> Iterator[Callable[[], str]]:
    """Everything that any logger says at DEBUG, structlog's included."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
    )
    yield stream.getvalue
    structlog.configure(**before)
    root.removeHandler(handler)
    root.setLevel(level)
