"""gRPC's reflection, by which clients without stubs learn what a server has.

grpcio-reflection has version v1alpha alone, which is deprecated. v1 is the same but for its name:
fields, numbers and types of every message are equal.
"""

from __future__ import annotations

from collections.abc import Iterable

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

_V1ALPHA, _V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"
_FILE = "grpc/reflection/v1/reflection.proto"

NAMES = tuple(f"{package}.ServerReflection" for package in (_V1, _V1ALPHA))
"""Full names of the services."""


def add_reflection(server: grpc.aio.Server, services: Iterable[str]) -> None:
    """Have a server tell about proto services.

    Args:
        server: that has not started.
        services: full names; those of reflection itself are added.
    """
    _describe_v1()
    servicer = aio.ReflectionServicer((*services, *NAMES))
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        tuple(
            grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method})
            for name in NAMES
        )
    )


def _describe_v1() -> None:
    """Add v1's own file to the descriptors: clients ask for that too."""
    pool = descriptor_pool.Default()
    try:
        pool.FindFileByName(_FILE)
    except KeyError:
        file = FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(file)
        file.name, file.package = _FILE, _V1
        file.ClearField("options")
        for field in (field for message in file.message_type for field in message.field):
            if field.type_name:
                field.type_name = field.type_name.replace(_V1ALPHA, _V1)
        for method in file.service[0].method:
            method.input_type = method.input_type.replace(_V1ALPHA, _V1)
            method.output_type = method.output_type.replace(_V1ALPHA, _V1)
        pool.AddSerializedFile(file.SerializeToString())
