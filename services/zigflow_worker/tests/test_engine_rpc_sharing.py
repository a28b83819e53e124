"""Descriptors that calls share, and servers of gRPC that hang, or tell too much."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message_factory import GetMessageClass

from zigflow_worker.errors import COMMUNICATION, WorkflowError
from zigflow_worker.outgoing.memory import MemoryBudget
from zigflow_worker.rpc import (
    Method,
    ProtoCompiler,
    RpcClient,
    SharedDescriptors,
    Target,
    find_method,
)
from zigflow_worker.rpc.messages import encode_arguments

from .grpc_servers import Loopback, compiled

PROTO = """
syntax = "proto3";
message Text { string text = 1; }
service Texts { rpc Join(stream Text) returns (Text); }
"""
MANY = 40
"""Calls that hang."""


@asynccontextmanager
async def serving(answer: Callable[[Any], Awaitable[bytes]]) -> AsyncIterator[int]:
    async def join(requests: Any, _context: Any) -> bytes:
        return await answer(requests)

    handlers: dict[str, Any] = {"Join": grpc.stream_unary_rpc_method_handler(join)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("Texts", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def join_method() -> Method:
    async def read(_uri: str) -> str:
        return PROTO

    return find_method(await compiled(ProtoCompiler(), "texts.proto", read), "Texts", "Join")


async def test_a_server_of_streams_that_hangs_leaves_others_their_threads() -> None:
    method, seen = await join_method(), 0

    async def hang(_requests: Any) -> bytes:
        nonlocal seen
        seen += 1
        await asyncio.Event().wait()
        return b""

    async def healthy(requests: Any) -> bytes:
        return b"".join([request async for request in requests])

    async with serving(hang) as hanging, serving(healthy) as well:
        client = RpcClient(policy=Loopback(ports={"hang": hanging, "well": well}))

        async def call(host: str) -> Any:
            async with client.connect(Target.of(host, 1)) as connection:
                messages = encode_arguments(method, [{"text": "a"}])
                return await connection.call(method, messages, (), MemoryBudget().new_call())

        calls = [asyncio.create_task(call("hang")) for _ in range(MANY)]
        async with asyncio.timeout(60):
            while seen < MANY:  # noqa: ASYNC110 - of the server's handlers
                await asyncio.sleep(0.01)
            assert await call("well") == {"text": "a"}
        assert not any(task.done() for task in calls)
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        client.close()


async def test_a_call_that_failed_holds_no_response() -> None:
    """It may be made again with better credentials, and wait for descriptors before."""

    async def fail(_requests: Any) -> bytes:
        raise ValueError("no")

    memory = MemoryBudget().new_call()
    async with serving(fail) as port:
        client = RpcClient(policy=Loopback(port))
        async with client.connect(Target.of("h", 1)) as connection:
            with pytest.raises(WorkflowError, match="UNKNOWN"):
                await connection.call(await join_method(), [b""], (), memory)
    assert memory.counted == 0


async def test_a_name_that_is_not_resolved_in_time_is_no_connection() -> None:
    class Silent:
        async def addresses(self, host: str, port: int) -> list[tuple[str, int]]:
            await asyncio.Event().wait()
            return []

    client = RpcClient(policy=Silent(), connect_seconds=0.05)
    with pytest.raises(WorkflowError, match=r"did not answer within 0\.05 s") as raised:
        async with client.connect(Target.of("silent", 1)):
            raise AssertionError
    assert (raised.value.type, raised.value.problem["status"]) == (COMMUNICATION.uri, 503)


# --- Descriptors


def file(name: str, messages: int = 10) -> FileDescriptorProto:
    described = FileDescriptorProto(name=name, package="p", syntax="proto3")
    for number in range(messages):
        described.message_type.add(name=f"M{number}")
    return described


ENTRY = 10 * 1024
SIZE = ENTRY + 54 * file("a").ByteSize()


async def test_calls_that_need_the_same_descriptors_share_them() -> None:
    shared = SharedDescriptors(10 * SIZE)
    async with (
        shared.use("a", "server", [file("a")]) as first,
        shared.use("a", "other", [file("a")]) as second,
    ):
        assert second is first
    async with shared.use("a", "server") as kept:
        assert kept is first


async def test_descriptors_that_are_not_in_use_make_room() -> None:
    """Their memory is free at once: classes of messages would keep it until the next collection."""
    shared = SharedDescriptors(2 * SIZE)
    async with AsyncExitStack() as used:
        await used.enter_async_context(shared.use("a", "a", [file("a")]))
        async with shared.use("b", "b", [file("b")]) as pool:
            made = weakref.ref(GetMessageClass(pool.FindMessageTypeByName("p.M0")))
        del pool
        gc.disable()
        try:
            await used.enter_async_context(shared.use("c", "c", [file("c")]))
        finally:
            gc.enable()
        assert [name in shared for name in ("a", "b", "c")] == [True, False, True]
    assert made() is None


async def test_empty_descriptors_take_room() -> None:
    shared = SharedDescriptors(3 * ENTRY)
    for name in range(9):
        async with shared.use(name, "server", [FileDescriptorProto()]):
            pass
    assert sum(name in shared for name in range(9)) <= 3


async def test_descriptors_wait_for_those_in_use() -> None:
    shared = SharedDescriptors(2 * SIZE)

    async def use(name: str) -> None:
        async with shared.use(name, name, [file(name)]):
            pass

    async with AsyncExitStack() as used:
        for name in ("a", "b"):
            await used.enter_async_context(shared.use(name, name, [file(name)]))
        waiting = asyncio.create_task(use("c"))
        while not shared._memory.waiting:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        assert not waiting.done()
    async with asyncio.timeout(60):
        await waiting


async def test_what_cannot_be_built_takes_no_room() -> None:
    shared = SharedDescriptors(2 * SIZE)
    wrong = file("a")
    wrong.message_type[0].field.add(name="x", number=0, type_name=".p.None")
    with pytest.raises(WorkflowError, match="are wrong"):
        async with shared.use("a", "server", [wrong]):
            raise AssertionError
    assert shared._memory.free == 2 * SIZE
    with pytest.raises(WorkflowError, match="more than 1048576 bytes"):
        async with shared.use("b", "server", [file("b", 200_000)]):
            raise AssertionError
