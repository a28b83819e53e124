"""Descriptors of a service as its server tells them: gRPC's reflection, v1 or v1alpha."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from zigflow_worker.errors import WorkflowError
from zigflow_worker.rpc.calls import Connection, Metadata
from zigflow_worker.rpc.descriptors import build_pool
from zigflow_worker.rpc.statuses import error_of
from zigflow_worker.rpc.targets import misconfigured

_PACKAGES = ("grpc.reflection.v1", "grpc.reflection.v1alpha")
"""Their messages are the same."""
_MAX_FILES = 300
_MAX_BYTES = 4 * 1024 * 1024


async def reflect(connection: Connection, service: str, metadata: Metadata) -> DescriptorPool:
    """Return the descriptors of a service.

    Raises:
        WorkflowError: of type `configuration` where the server does not know the service, or has
            no reflection; of type `communication` where it does not answer.
    """
    for package in _PACKAGES:
        try:
            return await _Reflection(connection, package, metadata).pool(service)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise error_of(error) from None
    raise misconfigured("the server has no reflection: name its proto in 'proto'")


class _Reflection:
    """The files that a server tells, each asked for by a call of its own.

    A stream of requests would do, but where the server ends it, writing to it fails without the
    server's status.
    """

    def __init__(self, connection: Connection, package: str, metadata: Metadata) -> None:
        self._method = connection.channel.unary_stream(
            f"/{package}.ServerReflection/ServerReflectionInfo",
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )
        self._metadata = tuple(metadata)
        self._files: dict[str, FileDescriptorProto] = {}
        self._left = _MAX_BYTES

    async def pool(self, service: str) -> DescriptorPool:
        """Return the service's file and all that it imports."""
        found = await self._ask(ServerReflectionRequest(file_containing_symbol=service))
        if found is None:
            raise misconfigured(f"the server has no service '{service}'")
        while missing := self._missing():
            for name in missing:
                if await self._ask(ServerReflectionRequest(file_by_filename=name)) is None:
                    self._keep(_well_known(name))
                if name not in self._files:
                    raise misconfigured(f"the server's reflection lacks the file '{name[:100]}'")
        return await asyncio.to_thread(build_pool, _in_order(self._files))

    def _missing(self) -> list[str]:
        imported = {name for file in self._files.values() for name in file.dependency}
        return sorted(imported - self._files.keys())

    async def _ask(self, request: ServerReflectionRequest) -> bool | None:
        """Keep the files of a response; None where there is no such thing."""
        call = self._method(request, metadata=self._metadata)
        try:
            response = await call.read()
        finally:
            call.cancel()
        if not isinstance(response, ServerReflectionResponse):
            raise misconfigured("the server's reflection does not answer")
        if not response.HasField("file_descriptor_response"):
            return None
        for content in response.file_descriptor_response.file_descriptor_proto:
            self._keep(content)
        return True

    def _keep(self, content: bytes) -> None:
        self._left -= len(content)
        if self._left < 0 or len(self._files) >= _MAX_FILES:
            raise misconfigured(
                f"the server's reflection has more than {_MAX_FILES} files, or {_MAX_BYTES} bytes"
            )
        try:
            file = FileDescriptorProto.FromString(content)
        except DecodeError:
            raise misconfigured("the server's reflection is no descriptor") from None
        self._files[file.name] = file


def _well_known(name: str) -> bytes:
    """Return the descriptor of a file that comes with protobuf, which some servers leave out."""
    try:
        known: bytes = descriptor_pool.Default().FindFileByName(name).serialized_pb
    except KeyError:
        raise misconfigured(f"the server's reflection lacks the file '{name[:100]}'") from None
    return known


def _in_order(files: dict[str, FileDescriptorProto]) -> list[FileDescriptorProto]:
    """Return files, each after those that it imports (raises WorkflowError for a circle)."""
    ordered: dict[str, FileDescriptorProto] = {}
    while len(ordered) < len(files):
        ready = [
            file
            for name, file in files.items()
            if name not in ordered and all(each in ordered for each in file.dependency)
        ]
        if not ready:
            raise _circle()
        ordered.update((file.name, file) for file in ready)
    return list(ordered.values())


def _circle() -> WorkflowError:
    return misconfigured("the files of the server's reflection import each other")
