"""Reflection of servers that tell what they should not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import (
    ErrorResponse,
    FileDescriptorResponse,
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from zigflow_worker.errors import COMMUNICATION, CONFIGURATION, ErrorType, WorkflowError
from zigflow_worker.rpc import RpcClient, Target, find_method

from .grpc_servers import Loopback, reflected

METHOD = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
WELL_KNOWN = "google/protobuf/timestamp.proto"


class Teller(grpc.GenericRpcHandler):
    """Answers with the file of the name asked for, or of the service's, so many times."""

    def __init__(
        self, files: dict[str, bytes], status: grpc.StatusCode | None = None, times: int = 1
    ) -> None:
        self._files = files
        self._status = status
        self._times = times

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        if details.method != METHOD:
            return None
        return grpc.stream_stream_rpc_method_handler(
            self._tell,
            request_deserializer=ServerReflectionRequest.FromString,
            response_serializer=ServerReflectionResponse.SerializeToString,
        )

    async def _tell(self, requests: Any, context: Any) -> AsyncIterator[ServerReflectionResponse]:
        if self._status is not None:
            await context.abort(self._status, "no")
        async for request in requests:
            name = request.file_by_filename or "main.proto"
            if name == "silence":
                return
            if name not in self._files:
                yield ServerReflectionResponse(error_response=ErrorResponse(error_code=5))
                continue
            found = FileDescriptorResponse(file_descriptor_proto=[self._files[name]] * self._times)
            yield ServerReflectionResponse(file_descriptor_response=found)


@asynccontextmanager
async def told(teller: Teller) -> AsyncIterator[RpcClient]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([teller])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield RpcClient(policy=Loopback(port))
    finally:
        await server.stop(None)


async def pool_of(client: RpcClient) -> Any:
    async with client.connect(Target.of("h", 1)) as connection:
        return await reflected(connection, "a.Service")


def file(name: str, *dependencies: str, padding: int = 0) -> bytes:
    """A file that imports others; `main.proto` has the service."""
    described = FileDescriptorProto(
        name=name, package="a", syntax="proto3", dependency=dependencies
    )
    if padding:
        described.options.java_package = "x" * padding
    if name == "main.proto":
        message = described.message_type.add(name="Message")
        message.field.add(
            name="at",
            number=1,
            label=FieldDescriptorProto.LABEL_OPTIONAL,
            type=FieldDescriptorProto.TYPE_MESSAGE,
            type_name=".google.protobuf.Timestamp",
        )
        service = described.service.add(name="Service")
        service.method.add(name="Call", input_type=".a.Message", output_type=".a.Message")
    return described.SerializeToString()


def chain(count: int) -> dict[str, bytes]:
    """Files that each import the next."""
    names = ["main.proto", *(f"f{number}.proto" for number in range(count))]
    return {
        name: file(name, after) for name, after in zip(names, [*names[1:], names[-1]], strict=True)
    }


async def test_a_million_empty_files_are_too_many() -> None:
    async with told(Teller({"main.proto": b""}, times=1_000_000)) as client:
        with pytest.raises(WorkflowError, match="more than 300 files, or 1048576 bytes"):
            await pool_of(client)


async def test_a_file_may_come_more_than_once() -> None:
    async with told(Teller({"main.proto": file("main.proto", WELL_KNOWN)}, times=300)) as client:
        assert find_method(await pool_of(client), "a.Service", "Call")


async def test_well_known_files_may_be_left_out() -> None:
    async with told(Teller({"main.proto": file("main.proto", WELL_KNOWN)})) as client:
        pool = await pool_of(client)
    assert find_method(pool, "a.Service", "Call").input.full_name == "a.Message"


@pytest.mark.parametrize(
    ("files", "detail"),
    [
        ({}, "the server has no service 'a.Service'"),
        ({"main.proto": b"\xff"}, "is no descriptor"),
        ({"main.proto": file("main.proto")}, "the descriptors of the service are wrong"),
        ({"main.proto": file("main.proto", "gone.proto")}, "lacks the file 'gone.proto'"),
        (
            {"main.proto": file("main.proto", "b.proto"), "b.proto": file("c.proto")},
            "lacks the file 'b.proto'",
        ),
        (
            {"main.proto": file("main.proto", "b.proto"), "b.proto": file("b.proto", "main.proto")},
            "import each other",
        ),
        (chain(400), "more than 300 files, or 1048576 bytes"),
        (
            {
                "main.proto": file("main.proto", "b.proto", "c.proto", padding=400_000),
                "b.proto": file("b.proto", padding=400_000),
                "c.proto": file("c.proto", padding=400_000),
            },
            "more than 300 files, or 1048576 bytes",
        ),
    ],
)
async def test_what_is_wrong_is_a_configuration_error(files: dict[str, bytes], detail: str) -> None:
    async with told(Teller(files)) as client:
        await fault(client, CONFIGURATION, 400, detail)


async def test_a_server_that_falls_silent_or_fails_is_told_of() -> None:
    silent = Teller({"main.proto": file("main.proto", "silence")})
    async with told(silent) as client:
        await fault(client, CONFIGURATION, 400, "does not answer")
    async with told(Teller({}, grpc.StatusCode.PERMISSION_DENIED)) as client:
        await fault(client, COMMUNICATION, 403, "PERMISSION_DENIED: no")


async def test_a_server_that_never_describes_itself_holds_up_its_own_calls() -> None:
    asked = 0

    class Silent(Teller):
        async def _tell(self, requests: Any, context: Any) -> AsyncIterator[Any]:
            nonlocal asked
            asked += 1
            await asyncio.Event().wait()
            yield

    well = Teller({"main.proto": file("main.proto", WELL_KNOWN)})
    async with told(Silent({})) as silent, told(well) as client:
        calls = [asyncio.create_task(pool_of(silent)) for _ in range(40)]
        async with asyncio.timeout(60):
            while asked < len(calls):  # noqa: ASYNC110 - of the server's handlers
                await asyncio.sleep(0.01)
            assert find_method(await pool_of(client), "a.Service", "Call")
        assert not any(call.done() for call in calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def fault(client: RpcClient, kind: ErrorType, status: int, detail: str) -> None:
    with pytest.raises(WorkflowError) as raised:
        await pool_of(client)
    problem = raised.value.problem
    assert (problem["type"], problem["status"]) == (kind.uri, status)
    assert detail in str(problem["detail"])
