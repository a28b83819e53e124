"""Fields that the API refuses: read from its answer, and found in the file that they are from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from ruamel.yaml.comments import CommentedMap, CommentedSeq

if TYPE_CHECKING:
    import grpc

_STEP = re.compile(r"[^.\[\]]+|\[\d+\]")
_UNDERSCORE = re.compile(r"_([a-z0-9])")
_NOT_SHOWN = re.compile(r"and \d+ more")


@dataclass(frozen=True)
class Violation:
    """A field that the API refuses."""

    field: str
    """Path in the API's request, for instance "agent.spec.tools[0].input_schema"."""
    description: str

    def __str__(self) -> str:
        return f"{self.field}: {self.description}"


def violations_of(error: grpc.aio.AioRpcError) -> tuple[list[Violation], str]:
    """Return the violations that an answer names, and what it says of others: "and 3 more"."""
    details = _details(error, BadRequest())
    found = [
        Violation(each.field, each.description)
        for detail in details
        for each in detail.field_violations
    ]
    last = (error.details() or "").rpartition("; ")[2]
    return found, last if found and _NOT_SHOWN.fullmatch(last) else ""


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the machine-readable reason of an answer; empty for none."""
    return next((detail.reason for detail in _details(error, ErrorInfo())), "")


def located(violation: Violation, file: str, document: Any) -> str:
    """Return a violation with its place in a file, and its path as the file has it.

    Args:
        violation: of a definition.
        file: its name in messages.
        document: of the file, as `parse_documents` returns it.
    """
    steps = _STEP.findall(violation.field)
    if not isinstance(document, CommentedMap) or "metadata" not in document or len(steps) < 2:
        return f"{file}: {violation}"
    steps = steps[1:] if steps[0] in {"agent", "workflow"} else steps
    if steps[0] in {"name", "labels"}:
        steps.insert(0, "metadata")
    line, column, keys = _walk(document, steps)
    path = "".join(key if key.startswith("[") else f".{key}" for key in keys).removeprefix(".")
    return f"{file}:{line}:{column}: {path}: {violation.description}"


def _walk(document: Any, steps: Sequence[str]) -> tuple[int, int, list[str]]:
    """Return line and column of the last step that is in a document, and all steps as its keys."""
    place, found, keys = (0, 0), document, []
    for step in steps:
        key = _key(found, step)
        keys.append(step if key is None else f"[{key}]" if isinstance(key, int) else key)
        if key is None:
            # What is absent is named as a file would have it.
            keys[-1] = step if "labels" in keys[:-1] else _camel(step)
            found = None
            continue
        is_map = isinstance(found, CommentedMap)
        place = found.lc.key(key) if is_map else found.lc.item(key)
        found = found[key]
    return int(place[0]) + 1, int(place[1]) + 1, keys


def _key(values: Any, step: str) -> Any:
    """Return the key of a mapping, or the index of a list, that a step of a path names."""
    if isinstance(values, CommentedMap):
        return next((key for key in (step, _camel(step)) if key in values), None)
    if isinstance(values, CommentedSeq) and step.startswith("["):
        index = int(step[1:-1])
        return index if index < len(values) else None
    return None


def _camel(name: str) -> str:
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name)


def _details(error: grpc.aio.AioRpcError, kind: Message) -> list[Any]:
    """Return the details of this kind that an answer has."""
    status = Status()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            try:
                status.ParseFromString(value)
            except DecodeError:
                return []
    found = []
    for packed in status.details:
        detail = type(kind)()
        if packed.Unpack(detail):
            found.append(detail)
    return found
