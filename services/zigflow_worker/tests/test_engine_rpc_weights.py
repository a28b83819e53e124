"""Responses of a few bytes that would be megabytes as JSON: fields without a value are shown."""

from __future__ import annotations

import pytest
from google.protobuf import any_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from stigma.contracts.limits import MAX_PAYLOAD_BYTES
from zigflow_worker.errors import COMMUNICATION, VALIDATION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.outgoing.memory import UNCOUNTED_BYTES, MemoryBudget
from zigflow_worker.rpc.calls import decode_responses
from zigflow_worker.rpc.descriptors import Method, build_pool, find_method
from zigflow_worker.rpc.messages import decode_all, encode_arguments
from zigflow_worker.rpc.weights import HeavyError

MESSAGE, STRING, INT32 = (
    FieldDescriptorProto.TYPE_MESSAGE,
    FieldDescriptorProto.TYPE_STRING,
    FieldDescriptorProto.TYPE_INT32,
)
ONE, MANY = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED


@pytest.fixture(scope="module")
def method() -> Method:
    """A method whose response has lists, maps and packed messages of 200 numbers each."""
    any_file = FileDescriptorProto()
    any_pb2.DESCRIPTOR.CopyToProto(any_file)
    file = FileDescriptorProto(name="wide.proto", package="wide", syntax="proto3")
    file.dependency.append(any_file.name)
    wide = file.message_type.add(name="Wide")
    for number in range(1, 201):
        wide.field.add(name=f"f{number}", number=number, type=INT32, label=ONE)
    out = file.message_type.add(name="Out")
    entry = out.nested_type.add(name="MapEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=STRING, label=ONE)
    entry.field.add(name="value", number=2, type=MESSAGE, label=ONE, type_name=".wide.Wide")
    for name, number, label, kind in (
        ("list", 1, MANY, ".wide.Wide"),
        ("map", 2, MANY, ".wide.Out.MapEntry"),
        ("any", 3, ONE, ".google.protobuf.Any"),
        ("inner", 4, ONE, ".wide.Out"),
    ):
        out.field.add(name=name, number=number, type=MESSAGE, label=label, type_name=kind)
    service = file.service.add(name="S")
    service.method.add(name="M", input_type=".wide.Out", output_type=".wide.Out")
    return find_method(build_pool([any_file, file]), "wide.S", "M")


def field(number: int, content: bytes) -> bytes:
    """A field of bytes, of at most 16,383."""
    size = len(content)
    return bytes((number << 3 | 2, size & 0x7F | 0x80, size >> 7)) + content


def listed(count: int) -> bytes:
    return b"\x0a\x00" * count


def mapped(count: int) -> bytes:
    return b"".join(field(2, field(1, str(number).encode())) for number in range(count))


def packed(content: bytes) -> bytes:
    return field(3, any_pb2.Any(type_url="x/wide.Out", value=content).SerializeToString())


@pytest.mark.parametrize(
    "contents",
    [
        [listed(3_000)],
        [listed(1_000)] * 3,
        [mapped(3_000)],
        [packed(listed(3_000))],
        [field(4, listed(3_000))],
    ],
)
def test_responses_that_grow_are_refused(method: Method, contents: list[bytes]) -> None:
    assert sum(map(len, contents)) < 40_000
    with pytest.raises(WorkflowError) as failure:
        decode_all(method, contents)
    problem = failure.value.problem
    assert (problem["type"], problem["status"]) == (COMMUNICATION.uri, 500)
    assert "characters as JSON" in str(problem["detail"])


@pytest.mark.parametrize(
    "content", [listed(2), mapped(2), packed(listed(2)), field(4, listed(2)), packed(b"")]
)
def test_others_are_decoded(method: Method, content: bytes) -> None:
    [response] = decode_all(method, [content])
    assert isinstance(response, dict)
    assert {"list", "map"} <= response.keys()


async def test_those_that_grow_more_than_most_are_decoded_too(method: Method) -> None:
    memory = MemoryBudget().new_call()
    with pytest.raises(HeavyError):
        decode_all(method, [listed(10)], 8_000)
    [response] = await decode_responses(method, [listed(10)], memory)
    assert isinstance(response, dict)
    assert len(response["list"]) == 10  # type: ignore[arg-type]
    assert memory.counted == 4 * MAX_PAYLOAD_BYTES - UNCOUNTED_BYTES
    memory.release()


@pytest.mark.parametrize("packed_as", ["x/wide.Nothing", "x/wide.Wide"])
def test_a_packed_message_that_is_none(method: Method, packed_as: str) -> None:
    content = any_pb2.Any(type_url=packed_as, value=b"\xff").SerializeToString()
    with pytest.raises(WorkflowError, match=r"the response is no wide\.Out"):
        decode_all(method, [field(3, content)])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("Timestamp", "2026-01-31T12:00:00Z"), ("Duration", "1s"), ("FieldMask", "a")),
        *(("Struct", {"a": 1}), ("Value", 1), ("ListValue", [1]), ("Any", {"@type": "x/wide.Out"})),
    ],
)
def test_well_known_messages_described_otherwise(name: str, value: JSON) -> None:
    own = FileDescriptorProto(name="own.proto", package="google.protobuf", syntax="proto3")
    own.message_type.add(name=name).field.add(name="type_url", number=1, type=INT32, label=ONE)
    file = FileDescriptorProto(name="wide.proto", package="wide", dependency=[own.name])
    out = file.message_type.add(name="Out")
    kind = f".google.protobuf.{name}"
    out.field.add(name="own", number=1, type=MESSAGE, label=ONE, type_name=kind)
    service = file.service.add(name="S")
    service.method.add(name="M", input_type=".wide.Out", output_type=".wide.Out")
    method = find_method(build_pool([own, file]), "wide.S", "M")
    with pytest.raises(WorkflowError) as failure:
        decode_all(method, [field(1, b"\x08\x01")])
    assert failure.value.type == COMMUNICATION.uri
    with pytest.raises(WorkflowError) as failure:
        encode_arguments(method, {"own": value})
    assert failure.value.type == VALIDATION.uri
