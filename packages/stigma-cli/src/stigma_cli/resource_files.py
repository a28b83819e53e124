"""Definitions as files: a strict reading of the envelope that `apply` commands take."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from stigma.agent.v1.agent_pb2 import Agent
from stigma.contracts.durations import parse_duration
from stigma.contracts.spelling import closest, did_you_mean, is_misspelt
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma_cli.places import START, Place, Places
from stigma_cli.problems import Problem
from stigma_cli.strict_json import check_text
from stigma_cli.yaml_files import FileError

API_VERSION = "stigma/v1"
AGENT = "Agent"
WORKFLOW = "Workflow"
KINDS = (AGENT, WORKFLOW)
ENVELOPE = ("apiVersion", "kind", "metadata", "spec")
"""Keys of a definition in a file."""

OPERATOR_KINDS = ("Provider", "McpServer")
"""Kinds that no command takes."""
_ALL_KINDS = (*KINDS, *OPERATOR_KINDS)
_SIMILARITY_OF_KINDS = 0.85
"""Less, and Kubernetes' kinds are taken for misspellings of these."""
READ_BY_AI_WORKER = "the AI worker reads it (STIGMA_PROVIDERS_FILE), and checks it as it starts"

D = TypeVar("D", Agent, Workflow)

_METADATA = ("name", "labels")


class EnvelopeReader:
    """Reads the documents of one file; every complaint names its place.

    Args:
        file: what it is called in messages.
        texts: fields of text that may be given as a mapping, and how that becomes text.
    """

    def __init__(self, file: str, texts: Mapping[str, Callable[[Any], str]]) -> None:
        self._file = file
        self._texts = texts
        self._mistakes: list[FileError] = []
        self._places = Places(None)

    def read(
        self, document: Any, kind: str, new: Callable[[], D]
    ) -> tuple[D | None, list[Problem]]:
        """Return a definition of a document, as far as it can be read, and all mistakes.

        None: the document is none of this kind.
        """
        definition = new()
        self._mistakes, self._places = [], Places(document)
        is_of_kind = False
        with self._collect():
            top = self._mapping(document, "the document", START)
            self._check_kind(top, kind)
            is_of_kind = True
            self._read(top, kind, definition)
        return definition if is_of_kind else None, [each.problem for each in self._mistakes]

    def _read(self, top: CommentedMap, kind: str, definition: D) -> None:
        self._only(top, ENVELOPE, f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind.lower()}")
        for key, expected in (("apiVersion", API_VERSION), ("kind", kind)):
            given = top.get(key)
            if given != expected and not _is_misspelt_in(top, key, ENVELOPE):
                meant = did_you_mean(given, [expected]) if isinstance(given, str) else ""
                message = (
                    f"unknown {key} {given!r}{meant}" if meant else f"{key} must be {expected}"
                )
                self._mistakes.append(self._error(top, key, message))
        if not _is_misspelt_in(top, "metadata", ENVELOPE):
            with self._collect():
                self._read_metadata(top, definition)
        if not _is_misspelt_in(top, "spec", ENVELOPE):
            with self._collect():
                spec = self._mapping(top.get("spec"), "spec", self._places.of(top, "spec"))
                self._fill(definition.spec, spec, "spec")
                definition.spec.SetInParent()

    def _check_kind(self, top: CommentedMap, kind: str) -> None:
        """Refuse what another command takes: its other keys would be so many mistakes.

        Raises:
            FileError: with that command.
        """
        given = top.get("kind")
        if given is None and "document" in top:
            message = "is a workflow document: `stigma workflow apply` registers it"
            raise self._error(top, "document", message)
        meant = meant_kind(given)
        if meant in ("", kind):
            return
        reader = READ_BY_AI_WORKER
        if meant in KINDS:
            reader = f"`stigma {meant.lower()} apply` registers it"
        misspelt = f"unknown kind {given!r}, did you mean '{meant}'?; {reader}"
        message = f"kind is {meant}: {reader}" if given == meant else misspelt
        raise self._error(top, "kind", message)

    def _read_metadata(self, top: CommentedMap, definition: Agent | Workflow) -> None:
        metadata = self._mapping(top.get("metadata"), "metadata", self._places.of(top, "metadata"))
        self._only(metadata, _METADATA, "metadata")
        if not _is_misspelt_in(metadata, "name", _METADATA):
            with self._collect():
                if not isinstance(metadata.get("name"), str):
                    raise self._error(metadata, "name", "metadata.name must be a text")
                definition.name = self._text(
                    metadata["name"], self._places.of(metadata, "name"), "metadata.name"
                )
        if metadata.get("labels") is not None:
            labels = definition.DESCRIPTOR.fields_by_name["labels"]
            self._set(definition, labels, metadata, "labels", "metadata.labels")

    def _fill(self, message: Message, values: CommentedMap, path: str) -> None:
        fields = _fields(message.DESCRIPTOR)
        self._only(values, fields, path)
        seen: set[str] = set()
        for key in values:
            field = fields.get(key)
            if field is None:
                continue
            with self._collect():
                if field.name in seen:
                    raise self._error(values, key, f"{path}.{key} is given twice")
                seen.add(field.name)
                self._check_choice(message, field, values, key, path)
                if values[key] is not None:
                    self._set(message, field, values, key, f"{path}.{key}")

    def _check_choice(
        self, message: Message, field: FieldDescriptor, values: Any, key: Any, path: str
    ) -> None:
        """Refuse a second field of those of which there is one, which would replace the first."""
        choice = field.containing_oneof
        first = message.WhichOneof(choice.name) if choice is not None else None
        if choice is not None and first and values[key] is not None:
            names = ", ".join(each.json_name for each in choice.fields)
            raise self._error(values, key, f"{path} has {first} already: give one of {names}")

    def _set(
        self, message: Message, field: FieldDescriptor, values: Any, key: Any, path: str
    ) -> None:
        value = values[key]
        at = self._places.of(values, key)
        if _is_map(field):
            target = getattr(message, field.name)
            for name, text in self._mapping(value, path, at).items():
                with self._collect():
                    place, at = f"{path}.{name}", self._places.of(value, name)
                    key = self._text(name, at, place) if isinstance(name, str) else ""
                    if key:
                        target[key] = ""  # checked by the rules, whatever its value is
                    if not isinstance(name, str) or not isinstance(text, str):
                        raise self._error(value, name, f"{place} must be a text")
                    target[key] = self._text(text, at, place)
        elif field.is_repeated:
            self._extend(message, field, self._sequence(value, path, at), path)
        elif field.message_type is not None:
            self._set_message(getattr(message, field.name), value, at, path)
        else:
            setattr(message, field.name, self._scalar(field, value, at, path))

    def _extend(
        self, message: Message, field: FieldDescriptor, values: CommentedSeq, path: str
    ) -> None:
        target = getattr(message, field.name)
        for index, value in enumerate(values):
            place, at = f"{path}[{index}]", self._places.of(values, index)
            with self._collect():
                if field.message_type is not None:
                    self._set_message(target.add(), value, at, place)
                else:
                    target.append(self._scalar(field, value, at, place))

    def _set_message(self, message: Message, value: Any, at: Place, path: str) -> None:
        if isinstance(message, Duration):
            try:
                message.FromTimedelta(
                    parse_duration(value if isinstance(value, str) else repr(value))
                )
            except ValueError as error:
                raise FileError(self._file, at, f"{path}: {error}") from None
            return
        message.SetInParent()
        self._fill(message, self._mapping(value, path, at), path)

    def _scalar(self, field: FieldDescriptor, value: Any, at: Place, path: str) -> Any:
        if field.name in self._texts and isinstance(value, Mapping):
            try:
                return self._texts[field.name](value)
            except ValueError as error:
                raise FileError(self._file, at, f"{path} {error}") from None
        if field.enum_type is not None:
            return self._enum(field.enum_type, value, at, path)
        expected, kinds = _SCALARS[field.cpp_type]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise FileError(self._file, at, f"{path} must be {expected}")
        bits = _BITS.get(field.cpp_type)
        if bits is not None and isinstance(value, int) and value.bit_length() >= bits:
            raise FileError(self._file, at, f"{path} does not fit into {bits} bits")
        if isinstance(value, float) and not math.isfinite(value):
            raise FileError(self._file, at, f"{path} must be a finite number")
        return self._text(value, at, path) if isinstance(value, str) else value

    def _text(self, value: str, at: Place, path: str) -> str:
        try:
            check_text(value)
        except ValueError as error:
            raise FileError(self._file, at, f"{path} {error}") from None
        return value

    def _enum(self, enum: EnumDescriptor, value: Any, at: Place, path: str) -> int:
        zero = enum.values_by_number[0].name
        prefix = zero.removesuffix("UNSPECIFIED")
        for name in (value, f"{prefix}{value}"):
            if isinstance(name, str) and name in enum.values_by_name:
                return int(enum.values_by_name[name].number)
        known = ", ".join(each.removeprefix(prefix) for each in enum.values_by_name if each != zero)
        raise FileError(self._file, at, f"{path} must be one of {known}")

    def _mapping(self, value: Any, what: str, at: Place) -> CommentedMap:
        if not isinstance(value, CommentedMap):
            raise FileError(self._file, at, f"{what} must be a mapping")
        return value

    def _sequence(self, value: Any, what: str, at: Place) -> CommentedSeq:
        if not isinstance(value, CommentedSeq):
            raise FileError(self._file, at, f"{what} must be a list")
        return value

    def _only(self, values: CommentedMap, known: Iterable[str], what: str) -> None:
        for key in values:
            if key not in known:
                # snake_case is read as well, but naming each field twice helps nobody.
                names = [name for name in known if "_" not in name]
                meant = did_you_mean(str(key), [name for name in names if name not in values])
                message = f"unknown key {key!r} in {what}{meant}; known: {', '.join(names)}"
                self._mistakes.append(self._error(values, key, message))

    @contextmanager
    def _collect(self) -> Iterator[None]:
        """Note a mistake of the body, and go on after it: all of a file are shown at once."""
        try:
            yield
        except FileError as mistake:
            self._mistakes.append(mistake)

    def _error(self, values: Any, key: Any, message: str) -> FileError:
        return FileError(self._file, self._places.of(values, key), message)


def meant_kind(given: Any) -> str:
    """Return the kind that a value is, or is a misspelling of; "" where it is of none."""
    if not isinstance(given, str):
        return ""
    return closest(given, _ALL_KINDS, similarity=_SIMILARITY_OF_KINDS) or ""


def _is_misspelt_in(values: CommentedMap, key: str, known: Sequence[str]) -> bool:
    """Return whether a map has a misspelling in the place of a key, which is told by itself."""
    unknown = [str(each) for each in values if each not in known]
    return key not in values and is_misspelt(key, unknown)


_SCALARS: dict[int, tuple[str, tuple[type, ...]]] = {
    FieldDescriptor.CPPTYPE_STRING: ("a text", (str,)),
    FieldDescriptor.CPPTYPE_BOOL: ("true or false", (bool,)),
    FieldDescriptor.CPPTYPE_INT32: ("a whole number", (int,)),
    FieldDescriptor.CPPTYPE_INT64: ("a whole number", (int,)),
    FieldDescriptor.CPPTYPE_DOUBLE: ("a number", (int, float)),
}

_BITS = {FieldDescriptor.CPPTYPE_INT32: 32, FieldDescriptor.CPPTYPE_INT64: 64}


def _fields(descriptor: Any) -> dict[str, FieldDescriptor]:
    """Return the fields by both of their names: camelCase (JSON) and snake_case (protos)."""
    camel = {field.json_name: field for field in descriptor.fields}
    return camel | {field.name: field for field in descriptor.fields}


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
