"""Descriptors of a service as its server tells them: gRPC's reflection, v1 or v1alpha."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
from zigflow_worker.outgoing.memory import CallMemory, DocumentsWaitError
from zigflow_worker.rpc.calls import Connection, Metadata
from zigflow_worker.rpc.shared_descriptors import MAX_BYTES as _MAX_BYTES
from zigflow_worker.rpc.shared_descriptors import SharedDescriptors
from zigflow_worker.rpc.statuses import error_of
from zigflow_worker.rpc.targets import misconfigured
from zigflow_worker.threads import run_in_thread

_PACKAGES = ("grpc.reflection.v1", "grpc.reflection.v1alpha")
"""Their messages are the same."""
_MAX_FILES = 300
_FILE_BYTES = 16
"""Bytes that each file told counts for, besides its own: a million of none take a second."""


@asynccontextmanager
async def reflect(
    connection: Connection,
    service: str,
    metadata: Metadata,
    memory: CallMemory,
    shared: SharedDescriptors,
) -> AsyncIterator[DescriptorPool]:
    """Use the descriptors of a service.

    Args:
        connection: to its server.
        service: its full name.
        metadata: of the requests.
        memory: of the call; it holds the files until they are descriptors.
        shared: keeps them.

    Raises:
        WorkflowError: of type `configuration` where the server does not know the service, or has
            no reflection; of type `communication` where it does not answer.
    """
    try:
        files = await _files(connection, service, metadata, memory)
    except DocumentsWaitError:
        files = None
    if files is None:
        await memory.wait_for_documents(_MAX_BYTES, connection.server)
        files = await _files(connection, service, metadata, memory)
    ordered = await run_in_thread(_in_order, files)
    key = hashlib.sha256(b"".join(map(_digest, ordered))).digest()
    async with shared.use(key, connection.server, ordered) as pool:
        del files, ordered
        memory.forget_documents()
        yield pool


async def _files(
    connection: Connection, service: str, metadata: Metadata, memory: CallMemory
) -> dict[str, FileDescriptorProto]:
    for package in _PACKAGES:
        try:
            return await _Reflection(connection, package, metadata, memory).files(service)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise error_of(error) from None
    raise misconfigured("the server has no reflection: name its proto in 'proto'")


class _Reflection:
    """The files that a server tells, each asked for by a call of its own.

    A stream of requests would do, but where the server ends it, writing to it fails without the
    server's status.
    """

    def __init__(
        self, connection: Connection, package: str, metadata: Metadata, memory: CallMemory
    ) -> None:
        self._method = connection.channel.unary_stream(
            f"/{package}.ServerReflection/ServerReflectionInfo",
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )
        self._metadata = tuple(metadata)
        self._files: dict[str, FileDescriptorProto] = {}
        self._memory = memory
        self._server = connection.server
        self._size = 0

    async def files(self, service: str) -> dict[str, FileDescriptorProto]:
        """Return the service's file and all that it imports, by name."""
        found = await self._ask(ServerReflectionRequest(file_containing_symbol=service))
        if found is None:
            raise misconfigured(f"the server has no service '{service}'")
        while missing := self._missing():
            for name in missing:
                if await self._ask(ServerReflectionRequest(file_by_filename=name)) is None:
                    self._keep(_well_known(name))
                if name not in self._files:
                    raise misconfigured(f"the server's reflection lacks the file '{name[:100]}'")
        return self._files

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
        self._size += _FILE_BYTES + len(content)
        if self._size > _MAX_BYTES or len(self._files) >= _MAX_FILES:
            raise misconfigured(
                f"the server's reflection has more than {_MAX_FILES} files, or {_MAX_BYTES} bytes"
            )
        self._memory.keep_documents(self._size, _MAX_BYTES, self._server)
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


def _digest(file: FileDescriptorProto) -> bytes:
    return hashlib.sha256(file.SerializeToString(deterministic=True)).digest()


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
