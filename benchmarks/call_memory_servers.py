"""Servers of `benchmarks.call_memory`: they answer when all calls have arrived."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import (
    FileDescriptorResponse,
    ServerReflectionResponse,
)

PROTO = """\
syntax = "proto3";
package many;
message Nothing {}
message Item { int32 n = 1; }
message Items { repeated Item items = 1; }
service Many { rpc List(Nothing) returns (Items); }
"""
_SIZE = 1_450_000
"""Bytes of a response: within the limit of outputs, 1.5 MiB."""
_MESSAGES = 100_000
"""Messages of a service that describes itself: about 1 MiB."""
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"


@dataclass(frozen=True)
class Shape:
    """Responses of one shape, and how they are asked for."""

    content_type: str
    body: bytes
    activity: str = "call_http"
    sent: Any = None
    """The body of the request."""
    is_reflected: bool = False
    """Whether the server describes its service, in other words for each call."""

    def request(self, url: str) -> dict[str, Any]:
        """Return the argument of the call's activity."""
        if self.activity == "call_grpc" and self.is_reflected:
            arguments = {"service": {"name": "many.Many", "host": url}, "method": "List"}
        elif self.activity == "call_grpc":
            arguments = {
                "proto": {"endpoint": "many.proto"},
                "service": {"name": "many.Many", "host": url},
                "method": "List",
            }
        elif self.activity == "call_openapi":
            arguments = {"document": {"endpoint": f"{url}/api.json"}, "operationId": "get"}
        elif self.sent is None:
            arguments = {"method": "get", "endpoint": url}
        else:
            arguments = {"method": "post", "endpoint": url, "body": self.sent}
        return {"reference": "/do/0/call", "arguments": arguments}


def _list(item: bytes) -> bytes:
    return b"[" + b",".join([item] * (_SIZE // (len(item) + 1))) + b"]"


def _openapi() -> bytes:
    start = (
        b'{"openapi":"3.0.0","info":{"title":"t","version":"1"},'
        b'"paths":{"/x":{"get":{"operationId":"get","responses":{}}}},"x-many":'
    )
    return start + _list(b'"some text"') + b"}"


_JSON = b"application/json"
SHAPES = {
    "lists": Shape("application/json", _list(b"[]")),
    "maps": Shape("application/json", _list(b'{"a":0}')),
    "numbers": Shape("application/json", _list(b"0")),
    "text": Shape("text/plain", b"x" * _SIZE),
    "bytes": Shape("application/octet-stream", b"x" * (_SIZE * 3 // 4)),
    "grpc": Shape("", b"\x0a\x00" * 100_000, activity="call_grpc"),
    "reflection": Shape("", b"\x0a\x00", activity="call_grpc", is_reflected=True),
    "openapi": Shape("application/json", _openapi(), activity="call_openapi"),
    "requests": Shape("text/plain", b"x", sent=[[]] * (_SIZE // 3)),
}


class HeldServer:
    """Says where it is, and answers once so many calls have arrived."""

    def __init__(self) -> None:
        self.url = ""
        self._left = 0
        self._all = asyncio.Event()

    def expect(self, calls: int) -> None:
        """Hold responses back until so many calls have arrived, or for ten seconds."""
        self._left = calls
        self._all = asyncio.Event()

    async def arrived(self) -> None:
        """Wait for the others."""
        self._left -= 1
        if self._left <= 0:
            self._all.set()
        try:
            async with asyncio.timeout(10):
                await self._all.wait()
        except TimeoutError:
            self._all.set()


@asynccontextmanager
async def held_server(shape: Shape) -> AsyncIterator[HeldServer]:
    """Serve a shape."""
    held = HeldServer()
    serve = _grpc if shape.activity == "call_grpc" else _http
    async with serve(held, shape):
        yield held


@asynccontextmanager
async def _http(held: HeldServer, shape: Shape) -> AsyncIterator[None]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = [
            line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        ]
        if length:
            await reader.readexactly(int(length[0].split(b":")[1]))
        await held.arrived()
        body = b"{}" if head.startswith(b"GET /x ") else shape.body
        writer.write(_HEAD % (shape.content_type.encode(), len(body)) + body)
        await writer.drain()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1000)
    held.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield
    finally:
        server.close()


@asynccontextmanager
async def _grpc(held: HeldServer, shape: Shape) -> AsyncIterator[None]:
    async def answer(_request: bytes, _context: Any) -> bytes:
        await held.arrived()
        return shape.body

    handler = grpc.method_handlers_generic_handler(
        "many.Many", {"List": grpc.unary_unary_rpc_method_handler(answer)}
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    if shape.is_reflected:
        server.add_generic_rpc_handlers((_reflection(),))
    held.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield
    finally:
        await server.stop(grace=None)


def _reflection() -> grpc.GenericRpcHandler:
    """Return what describes the service: as large as it may be, and never twice the same."""
    numbers = itertools.count()

    async def tell(requests: Any, _context: Any) -> AsyncIterator[ServerReflectionResponse]:
        async for _ in requests:
            found = FileDescriptorResponse(file_descriptor_proto=[_described(next(numbers))])
            yield ServerReflectionResponse(file_descriptor_response=found)

    method: Any = grpc.stream_stream_rpc_method_handler(
        tell, response_serializer=ServerReflectionResponse.SerializeToString
    )
    return grpc.method_handlers_generic_handler(
        "grpc.reflection.v1.ServerReflection", {"ServerReflectionInfo": method}
    )


def _described(number: int) -> bytes:
    file = FileDescriptorProto(name=f"many{number}.proto", package="many", syntax="proto3")
    for each in range(_MESSAGES):
        file.message_type.add(name=f"M{each}")
    nothing, items = f".many.M{number}", ".many.M0"
    file.service.add(name="Many").method.add(name="List", input_type=nothing, output_type=items)
    return file.SerializeToString()
