"""Fields that the API refuses: read from its answer, and found in the file that they are from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from stigma.contracts.spelling import is_misspelt
from stigma_cli.places import Place, place_of_child, pointer_to
from stigma_cli.problems import Problem

if TYPE_CHECKING:
    import grpc

_STEP = re.compile(r"[^.\[\]]+|\[\d+\]")
_UNDERSCORE = re.compile(r"_([a-z0-9])")
_NAME_FIELD = "workflow.name"
DOCUMENT_FIELD = "workflow.spec.document"
_OF_ENGINE = re.compile(
    r"(?:the document is not valid: )?(?P<line>\d+):(?P<column>\d+): "
    r"(?P<pointer>/[^ ]*): (?P<message>.*)",
    re.DOTALL,
)
_COMPARED = {
    "/spec/approval": ("/spec/tools",),
    "/spec/context": ("/spec/model", "/spec/allowedModels"),
    "/spec/script": ("/spec/model", "/spec/allowedModels"),
}
"""Fields with which rules compare others."""
_LABELS = "/metadata/labels"
"""Map of which each key is refused by itself, whatever is wrong with others."""
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


def located(violation: Violation, document: Any) -> Problem:
    """Return a violation as a problem of a file, with its place there.

    Args:
        violation: of a definition.
        document: of the file, as `parse_documents` returns it.
    """
    steps = _steps(violation.field, document) if isinstance(document, CommentedMap) else []
    if violation.field == DOCUMENT_FIELD and steps:
        inside = _OF_ENGINE.fullmatch(violation.description)
        if inside is not None:
            found = _in_document(document, steps, inside["pointer"], inside["message"])
            if not is_document(document):
                return found
            # It was sent as it is.
            return replace(found, line=int(inside["line"]), column=int(inside["column"]))
    if not steps:
        return Problem(0, 0, "", str(violation))
    return Problem(*_walk(document, steps), violation.description)


def _in_document(file: CommentedMap, steps: Sequence[str], pointer: str, message: str) -> Problem:
    """Return what the engine says of a document, with its place in the file that it is from."""
    own = [] if is_document(file) else steps
    keys = [each.replace("~1", "/").replace("~0", "~") for each in pointer.split("/")[1:] if each]
    place = _walk(file, [*own, *keys])
    return Problem(place.line, place.column, pointer.rstrip("/"), message)


def follows_from(problem: Problem, mistakes: Sequence[Problem]) -> bool:
    """Return whether a violation only says that something could not be read because of a mistake.

    So it does inside of a mistake, around it, and of a key for which another one is misspelt, also
    where a rule compares with that key.
    """
    compared = _COMPARED.get("/".join(problem.pointer.split("/")[:3]), ())
    return any(
        _is_in(pointer, each.pointer)
        or (_is_in(each.pointer, pointer) and pointer != _LABELS)
        or _is_misspelt(pointer, each.pointer)
        for each in mistakes
        for pointer in (problem.pointer, *compared)
    )


def _is_in(pointer: str, outer: str) -> bool:
    return f"{pointer}/".startswith(f"{outer}/")


def _is_misspelt(pointer: str, other: str) -> bool:
    parent, _, unknown = other.rpartition("/")
    if not pointer.startswith(f"{parent}/"):
        return False
    key = pointer.removeprefix(f"{parent}/").partition("/")[0]
    return key != unknown and is_misspelt(key, [unknown])


def is_document(document: Any) -> bool:
    """Return whether a document of a file is a workflow document as it is."""
    return isinstance(document, dict) and "document" in document


def _steps(field: str, document: CommentedMap) -> list[str]:
    """Return the keys and indexes that lead to a field of a request; none where it is elsewhere."""
    if is_document(document):
        return {_NAME_FIELD: ["document", "name"], DOCUMENT_FIELD: ["document"]}.get(field, [])
    if "metadata" not in document:
        return []
    steps = _STEP.findall(field)
    if len(steps) > 1 and steps[0] in {"agent", "workflow"}:
        del steps[0]
    elif len(steps) < 2:
        return []
    if steps[0] == "labels":
        label = field.partition("labels.")[2]  # its key may have dots
        steps = ["labels", label] if label else ["labels"]
    return ["metadata", *steps] if steps[0] in {"name", "labels"} else steps


def _walk(document: Any, steps: Sequence[str]) -> Place:
    """Return the place of the last step that is in a document, with a pointer to all steps."""
    place, found, pointer = (1, 1), document, ""
    for step in steps:
        key = _key(found, step)
        if key is None:
            # What is absent is named as a file would have it.
            pointer = pointer_to(pointer, _camel(step).strip("[]"))
            found = None
            continue
        place = place_of_child(found, key) or place
        found = found[key]
        pointer = pointer_to(pointer, key)
    return Place(*place, pointer)


def _key(values: Any, step: str) -> Any:
    """Return the key of a mapping, or the index of a list, that a step of a path names."""
    if isinstance(values, CommentedMap):
        return next((key for key in (step, _camel(step)) if key in values), None)
    if isinstance(values, CommentedSeq) and (number := step.strip("[]")).isdecimal():
        return int(number) if int(number) < len(values) else None
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
