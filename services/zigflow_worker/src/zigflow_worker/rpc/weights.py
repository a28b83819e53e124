"""Weights of messages as JSON, where two bytes may stand for thousands: fields without a value."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from zigflow_worker.errors import COMMUNICATION, WorkflowError

MAX_CHARACTERS = 2 * 1024 * 1024
_PER_MESSAGE, _PER_FIELD = 3, 4
"""Characters of `{},` and `"":0` at least."""


class HeavyError(Exception):
    """Messages have more characters than was asked for, fewer than they may have."""


class Weight:
    """Adds up the characters of the responses of one call, of which there may be `most`."""

    def __init__(self, pool: DescriptorPool, most: int = MAX_CHARACTERS) -> None:
        self._pool = pool
        self._most = self._left = most
        self._weights: dict[str, int] = {}

    def add(self, message: Message) -> None:
        """Count a message and all in it.

        Raises:
            WorkflowError: of type `communication`: they are more than `MAX_CHARACTERS`.
            HeavyError: they are more than fewer ones, which `most` is.
        """
        waiting = [message]
        while waiting:
            each = waiting.pop()
            descriptor: Descriptor = each.DESCRIPTOR  # type: ignore[assignment] # of upb: as good
            self._left -= self._weight_of(descriptor)
            if self._left < 0 and self._most < MAX_CHARACTERS:
                raise HeavyError
            if self._left < 0:
                detail = f"the responses have more than {MAX_CHARACTERS} characters as JSON"
                raise WorkflowError.of(COMMUNICATION, detail)
            waiting += _inner(each)
            if descriptor.full_name == "google.protobuf.Any":
                waiting += self._unpacked(each)

    def _weight_of(self, descriptor: Descriptor) -> int:
        name = descriptor.full_name
        if name not in self._weights:
            printed = (field for field in descriptor.fields if not field.has_presence)
            lengths = (len(field.json_name) + _PER_FIELD for field in printed)
            self._weights[name] = _PER_MESSAGE + sum(lengths)
        return self._weights[name]

    def _unpacked(self, message: Message) -> Iterator[Message]:
        type_url, value = getattr(message, "type_url", ""), getattr(message, "value", b"")
        try:
            descriptor = self._pool.FindMessageTypeByName(type_url.rpartition("/")[2])
        except KeyError:
            return  # it is not printed either
        packed = GetMessageClass(descriptor)()
        packed.ParseFromString(value)
        yield packed


def _inner(message: Message) -> Iterator[Message]:
    for field, value in message.ListFields():
        kind = field.message_type
        if kind is None:
            continue
        if not field.is_repeated:
            yield value
        elif not kind.GetOptions().map_entry:
            yield from value
        elif kind.fields_by_name["value"].message_type is not None:
            yield from value.values()
