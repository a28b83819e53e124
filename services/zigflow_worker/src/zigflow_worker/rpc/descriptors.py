"""Descriptors: pools of files, and the method that a call names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from stigma.contracts.spelling import did_you_mean
from zigflow_worker.rpc.targets import misconfigured


class Method(NamedTuple):
    """A method of a service."""

    service: str
    """Its full name."""
    name: str
    input: Descriptor
    output: Descriptor
    client_streaming: bool
    server_streaming: bool
    pool: DescriptorPool

    @property
    def path(self) -> str:
        """The path of its calls."""
        return f"/{self.service}/{self.name}"


def build_pool(files: Iterable[FileDescriptorProto]) -> DescriptorPool:
    """Return the descriptors of files, each after those that it imports (raises WorkflowError)."""
    pool = DescriptorPool()
    for file in files:
        try:
            pool.AddSerializedFile(file.SerializeToString())
        except (TypeError, ValueError) as error:
            message = " ".join(str(error).split())[:300]
            raise misconfigured(f"the descriptors of the service are wrong: {message}") from None
    return pool


def find_method(pool: DescriptorPool, service: str, method: str) -> Method:
    """Return a method by its service's full name and its own (raises WorkflowError)."""
    try:
        found = pool.FindServiceByName(service)
    except (KeyError, TypeError):  # the latter for what is no UTF-8
        raise misconfigured(f"there is no service '{service}'") from None
    if not method.isascii() or method not in found.methods_by_name:
        meant = did_you_mean(method, found.methods_by_name)
        raise misconfigured(f"the service '{service}' has no method '{method}'{meant}")
    descriptor = found.methods_by_name[method]
    return Method(
        service=found.full_name,
        name=descriptor.name,
        input=descriptor.input_type,
        output=descriptor.output_type,
        client_streaming=bool(descriptor.client_streaming),
        server_streaming=bool(descriptor.server_streaming),
        pool=pool,
    )
