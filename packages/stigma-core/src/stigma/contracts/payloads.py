"""Payloads: the encodings in which messages travel through Temporal.

Two releases meet during every upgrade, so a reader must survive a field it does not know: Stigma's
own services read JSON that way, and what reaches a caller, whose converter is its own, is binary.

What people read in Temporal's own views is JSON: what was asked, what models said, what came of it.
What only connects the services is binary, which takes a tenth of the time, or less.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.converter import (
    AdvancedJSONEncoder,
    BinaryNullPayloadConverter,
    BinaryPlainPayloadConverter,
    BinaryProtoPayloadConverter,
    CompositePayloadConverter,
    DataConverter,
    JSONPlainPayloadConverter,
    JSONProtoPayloadConverter,
)

from stigma.contracts import json_text

M = TypeVar("M", bound=Message)

# Bound of how many times as long as its binary form the JSON form of a message is.
_MAX_JSON_GROWTH = 16
# Messages that nobody reads in Temporal's views. 0.1.0 writes them as JSON, and reads both.
_BINARY_MESSAGES = frozenset(
    {
        "stigma.internal.v1.Bind",
        "stigma.internal.v1.DeliverCallbackRequest",
        "stigma.internal.v1.DeliverCallbackResponse",
    }
)


class PayloadConverter(CompositePayloadConverter):
    """The SDK's default converter, save for how it writes JSON and reads JSON messages."""

    def __init__(self) -> None:
        super().__init__(
            BinaryNullPayloadConverter(),
            BinaryPlainPayloadConverter(),
            _JSONProtoPayloadConverter(ignore_unknown_fields=True),
            BinaryProtoPayloadConverter(),
            _JSONPlainPayloadConverter(),
        )


class _JSONProtoPayloadConverter(JSONProtoPayloadConverter):
    """Reads over unknown fields, and writes text as it is.

    The SDK's escapes every letter beyond ASCII, which makes text up to three times as long. What is
    binary is left to the next converter.
    """

    def to_payload(self, value: Any) -> Payload | None:
        if not isinstance(value, Message) or value.DESCRIPTOR.full_name in _BINARY_MESSAGES:
            return None
        return Payload(
            metadata={
                "encoding": self.encoding.encode(),
                "messageType": value.DESCRIPTOR.full_name.encode(),
            },
            data=json_text.compact(json_format.MessageToDict(value), sort_keys=True).encode(),
        )


class _JSONPlainPayloadConverter(JSONPlainPayloadConverter):
    """Writes text as it is, as the converter of messages does."""

    def to_payload(self, value: Any) -> Payload | None:
        text = json.dumps(
            value,
            cls=AdvancedJSONEncoder,
            separators=(",", ":"),
            sort_keys=True,
            ensure_ascii=False,
        )
        try:
            data = text.encode()
        except UnicodeEncodeError:  # halves of surrogate pairs have escapes only
            return super().to_payload(value)
        return Payload(metadata={"encoding": self.encoding.encode()}, data=data)


DATA_CONVERTER = replace(DataConverter.default, payload_converter_class=PayloadConverter)


def binary_payload(message: Message) -> Payload:
    """Encode a message as binary/protobuf, which every SDK decodes, unknown fields included."""
    return Payload(
        metadata={
            "encoding": b"binary/protobuf",
            "messageType": message.DESCRIPTOR.full_name.encode(),
        },
        data=message.SerializeToString(deterministic=True),
    )


def json_size_if_over(limit: int, message: Message) -> int:
    """Return the bytes of a message's JSON form when they are over a limit, else 0.

    JSON is how messages travel between Stigma's services. Most are far too small to be worth
    encoding once more for their size.
    """
    if message.ByteSize() * _MAX_JSON_GROWTH <= limit:
        return 0
    size = json_size(message)
    return size if size > limit else 0


def json_size(message: Message) -> int:
    """Return the bytes of a message's JSON form, as it travels between Stigma's services."""
    return len(json_text.compact(json_format.MessageToDict(message)).encode())


def json_payload(value: Any) -> Payload:
    """Encode a JSON value as json/plain."""
    return json_text_payload(json_text.compact(value))


def json_text_payload(text: str) -> Payload:
    """Encode JSON text as json/plain, unchanged."""
    return Payload(metadata={"encoding": b"json/plain"}, data=text.encode())


def to_binary_payload(message: Message) -> RawValue:
    """Wrap a message so that no converter but ours touches it."""
    return RawValue(binary_payload(message))


def from_raw(raw: RawValue, message_type: type[M]) -> M:
    """Decode a message of either protobuf encoding; unknown fields are ignored.

    Raises:
        ValueError: the payload is not an encoded `message_type`; its content is not quoted.
    """
    encoding = raw.payload.metadata.get("encoding", b"")
    try:
        if encoding == b"binary/protobuf":
            return message_type.FromString(raw.payload.data)
        if encoding == b"json/protobuf":
            return json_format.Parse(raw.payload.data, message_type(), ignore_unknown_fields=True)
    except (DecodeError, json_format.ParseError, UnicodeDecodeError):
        raise ValueError(f"not a {message_type.DESCRIPTOR.full_name}") from None
    raise ValueError(
        f"expected {message_type.DESCRIPTOR.full_name}, got a payload encoded "
        f"{encoding.decode(errors='replace')!r}"
    )


def cut_text(text: str, max_bytes: int) -> str:
    """Return as many whole characters of a text's start as fit so many bytes of UTF-8."""
    data = text.encode()
    return text if len(data) <= max_bytes else data[:max_bytes].decode(errors="ignore")
