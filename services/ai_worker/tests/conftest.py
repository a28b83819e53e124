"""What the AI worker's tests share: a local model server, and activities under test."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
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
from ai_worker.models.provider import ModelResult, ToolDefinition
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
    whole: bool = False
    """Answers in one piece, also when asked to stream."""
    cut: int | None = None
    """Events that are sent; negative: all but so many."""
    stall: int | None = None
    """Events after which nothing is sent until the client goes away."""

    def encode(self, stream: bool) -> bytes:
        if self.raw is not None:
            return self._head(self.kind) + self.raw
        if stream and self.status == 200 and not self.whole and (events := model_events(self.body)):
            if self.stall is not None:
                return self._head(EVENTS) + b"".join(events[: self.stall])
            body = b"".join(events[: self.cut])
            return self._head(EVENTS, len(body)) + body
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        return self._head("application/json", len(text.encode())) + text.encode()

    def _head(self, kind: str, length: int | None = None) -> bytes:
        lines = [f"HTTP/1.1 {self.status} Status", f"content-type: {kind}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines.append("connection: close" if length is None else f"content-length: {length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


EVENTS = "text/event-stream"


def model_events(message: Any) -> list[bytes]:
    """Return a model's answer as its provider streams it; nothing for what is no answer."""
    match message:
        case {"type": "message", "content": list()}:
            return _anthropic_events(message)
        case {"object": "chat.completion", "choices": [{"message": dict()}]}:
            return _openai_events(message)
    return []


def _openai_events(completion: dict[str, Any]) -> list[bytes]:
    """Chunks, the usage in one of its own."""
    usage = completion.get("usage")
    head = completion | {"object": "chat.completion.chunk"}
    head.pop("usage", None)
    (choice,) = completion["choices"]
    chunks = [
        head | {"choices": [choice | {"message": None, "delta": delta, "finish_reason": None}]}
        for delta in _openai_deltas(choice["message"])
    ]
    if "finish_reason" in choice:
        chunks.append(head | {"choices": [choice | {"message": None, "delta": {}}]})
    if usage is not None:
        chunks.append(head | {"choices": [], "usage": usage})
    for chunk in chunks:
        for each in chunk["choices"]:
            each.pop("message", None)
    return [
        *(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks),
        b"data: [DONE]\n\n",
    ]


def _openai_deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    # Reasoning comes before the text, and calls come last.
    rank = {"content": 1, "tool_calls": 2}
    for name, value in sorted(message.items(), key=lambda field: rank.get(field[0], 0)):
        if name == "tool_calls":
            for index, call in enumerate(value or ()):
                deltas += [{"tool_calls": [{"index": index} | each]} for each in _call_deltas(call)]
        elif name != "role" and isinstance(value, str):
            deltas += [{name: piece} for piece in pieces(value)]
        elif value is not None:
            deltas.append({name: value})
    return deltas


def _call_deltas(call: dict[str, Any]) -> list[dict[str, Any]]:
    function = call["function"]
    given = function.get("arguments")
    start = call | {"function": function | ({} if given is None else {"arguments": ""})}
    return [start, *({"function": {"arguments": piece}} for piece in pieces(given or ""))]


def pieces(text: str) -> list[str]:
    """A text in two pieces, cut where a server that counts UTF-16 might cut it."""
    units = text.encode("utf-16-le", "surrogatepass")
    middle = len(units) // 4 * 2
    halves = (units[:middle], units[middle:])
    return [half.decode("utf-16-le", "surrogatepass") for half in halves if half]


def _anthropic_events(message: dict[str, Any]) -> list[bytes]:
    usage = message.get("usage") or {}
    head = message | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": head}]
    for index, block in enumerate(message["content"]):
        events += [{"index": index} | event for event in _block_events(block)]
    if message["stop_reason"] is not None:
        delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
        used = {"output_tokens": usage.get("output_tokens", 0)}
        events.append({"type": "message_delta", "delta": delta, "usage": used})
    events.append({"type": "message_stop"})
    return [
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode())
        for event in events
    ]


def _block_events(block: dict[str, Any]) -> list[dict[str, Any]]:
    fields = {"text": "text_delta", "thinking": "thinking_delta", "signature": "signature_delta"}
    deltas = [
        {"type": "content_block_delta", "delta": {"type": kind, name: piece}}
        for name, kind in fields.items()
        if name in block
        for piece in ([block[name]] if name == "signature" else pieces(block[name]))
    ]
    start = {name: "" if name in fields else value for name, value in block.items()}
    if isinstance(given := block.get("input"), str):  # a tool_use: the text of its arguments
        start["input"] = {}
        deltas = [
            {
                "type": "content_block_delta",
                "delta": {"type": "input_json_delta", "partial_json": p},
            }
            for p in pieces(given)
        ]
    return [
        {"type": "content_block_start", "content_block": start},
        *deltas,
        {"type": "content_block_stop"},
    ]


class ModelServer:
    """A real HTTP server that plays replies in order; the last one repeats."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.times: list[float] = []
        self.received = asyncio.Event()
        self.disconnected = asyncio.Event()
        self.sent = asyncio.Event()
        self.connections = 0
        self._replies: list[Reply] = []
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def forget_replies(self) -> None:
        self._replies.clear()

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
        self.connections += 1
        try:
            while (request := await _read_request(reader)) is not None:
                self.requests.append(request)
                self.times.append(time.monotonic())
                self.received.set()
                reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
                if reply.hang:
                    await reader.read()
                    break
                writer.write(reply.encode(request.body.get("stream", False)))
                await writer.drain()
                self.sent.set()
                if reply.stall is not None:
                    await reader.read()
                    break
                while reply.endless:
                    writer.write(reply.endless)
                    await writer.drain()
                if reply.raw is not None:
                    break
        except ConnectionError:
            pass
        finally:
            self.connections -= 1
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

    async def ask(
        self, request: ModelCallRequest, tools: Sequence[ToolDefinition] = ()
    ) -> ModelResult:
        """Call a model as the activity for agents with tools does."""
        return await self.environment.run(self.caller.call, request, tools, lambda result: result)

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
