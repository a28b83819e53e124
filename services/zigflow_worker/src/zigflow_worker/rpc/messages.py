"""Messages of a method as JSON: in by either name of a field, out by its JSON name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, EncodeError, Message
from google.protobuf.message_factory import GetMessageClass

from zigflow_worker.errors import COMMUNICATION, VALIDATION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.rpc.descriptors import Method
from zigflow_worker.rpc.targets import misconfigured
from zigflow_worker.rpc.weights import MAX_CHARACTERS, Weight

_UNFIT = (json_format.Error, TypeError, ValueError, RecursionError, AttributeError)
"""Errors of protobuf's JSON. AttributeError: a server may describe a google.protobuf.Timestamp,
or another of the types with a JSON of their own, that lacks its fields."""


def encode_arguments(method: Method, arguments: JSON) -> list[bytes]:
    """Return the messages of a call; those of a client's stream come from a list.

    Raises:
        WorkflowError: of type `configuration` for a field that there is not, of type `validation`
            for a value that does not fit.
    """
    if not method.client_streaming:
        return [_encode(method, {} if arguments is None else arguments)]
    if arguments is None:
        return []
    if not isinstance(arguments, list):
        raise _invalid(f"'{method.name}' takes a stream: its arguments have to be a list")
    return [_encode(method, each) for each in arguments]


def decode_all(method: Method, contents: Sequence[bytes], most: int = MAX_CHARACTERS) -> list[JSON]:
    """Return responses as JSON, fields without a value included.

    Raises:
        HeavyError: they have more than `most` characters, which is less than `MAX_CHARACTERS`.
        WorkflowError: of type `communication`, status 500: one is no such message, or fields
            without a value, of which bytes say nothing, would be too many.
    """
    weight = Weight(method.pool, most)
    return [_decode(method, content, weight) for content in contents]


def _decode(method: Method, content: bytes, weight: Weight) -> JSON:
    message = _new(method.output)
    try:
        message.ParseFromString(content)
        weight.add(message)
        data: JSON = json_format.MessageToDict(
            message, always_print_fields_with_no_presence=True, descriptor_pool=method.pool
        )
    except (DecodeError, *_UNFIT):
        detail = f"the response is no {method.output.full_name}"
        raise WorkflowError.of(COMMUNICATION, detail) from None
    return data


def _encode(method: Method, value: JSON) -> bytes:
    if not isinstance(value, dict) and not method.input.full_name.startswith("google.protobuf."):
        raise _invalid(f"a message of '{method.name}' has to be a map")
    try:
        return _parsed(method.input, value, method.pool).SerializeToString()
    except EncodeError as error:
        raise _invalid(_one_line(error)) from None
    except _UNFIT as error:
        if _fits_without_unknown(method, value):
            raise misconfigured(_one_line(error)) from None
        raise _invalid(_one_line(error)) from None


def _fits_without_unknown(method: Method, value: JSON) -> bool:
    try:
        _parsed(method.input, value, method.pool, lenient=True)
    except _UNFIT:
        return False
    return True


def _parsed(
    descriptor: Descriptor, value: Any, pool: DescriptorPool, *, lenient: bool = False
) -> Message:
    message = _new(descriptor)
    json_format.ParseDict(value, message, ignore_unknown_fields=lenient, descriptor_pool=pool)
    return message


def _new(descriptor: Descriptor) -> Message:
    return GetMessageClass(descriptor)()


def _invalid(message: str) -> WorkflowError:
    return WorkflowError.of(VALIDATION, message)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
