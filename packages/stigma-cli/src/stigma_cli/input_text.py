"""Pending inputs, their resolutions, and messages, as text for people."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from stigma.agent.v1.agent_execution_pb2 import (
    PENDING_INPUT_KIND_APPROVAL,
    PENDING_INPUT_KIND_AUTHORIZATION,
    PENDING_INPUT_KIND_CLIENT_TOOL,
    PENDING_INPUT_KIND_ELICITATION,
    PENDING_INPUT_KIND_QUESTION,
    InputResolution,
    InputResolutionKind,
    PendingInput,
    PendingInputKind,
)
from stigma.agent.v1.agent_execution_service_pb2 import WatchAgentExecutionResponse
from stigma.contracts.indented_json import indent_json
from stigma.contracts.typed_answers import DONE
from stigma_cli.output import as_age, as_time

_TEXT, _JSON = "TEXT", "--json JSON"
_ANSWERED_BY_JSON = frozenset((PENDING_INPUT_KIND_CLIENT_TOOL, PENDING_INPUT_KIND_ELICITATION))


def kind_name(found: PendingInput) -> str:
    """Return a pending input's kind without its prefix; its number where unnamed."""
    if found.kind not in PendingInputKind.values():
        return str(found.kind)
    return PendingInputKind.Name(found.kind).removeprefix("PENDING_INPUT_KIND_")


def command_for(found: PendingInput) -> str:
    """Return the command that answers a pending input."""
    place = f"{shlex.quote(found.execution_id)} {shlex.quote(found.id)}"
    match found.kind:
        case kind if kind == PENDING_INPUT_KIND_APPROVAL:
            return f"stigma execution approve {place}"
        case kind if kind == PENDING_INPUT_KIND_QUESTION:
            answer = _TEXT if _takes_text(found.schema) else _JSON
            return f"stigma execution answer {place} {answer}"
        case kind if kind in _ANSWERED_BY_JSON:
            return f"stigma execution answer {place} {_JSON}"
        case kind if kind == PENDING_INPUT_KIND_AUTHORIZATION:
            return f"stigma execution answer {place} {DONE}"
        case _:
            return f"stigma inputs get {place}"


def _takes_text(schema: str) -> bool:
    """Return whether a text may satisfy a schema, as far as its type says."""
    try:
        kinds = json.loads(schema).get("type", "string") if schema else "string"
    except (ValueError, AttributeError):  # none that is known here, or one without keys
        return True
    return "string" in (kinds if isinstance(kinds, list) else [kinds])


def requested_text(found: PendingInput) -> str:
    """Return one line: what is waited for, and the command that answers it."""
    match found.kind:
        case kind if kind == PENDING_INPUT_KIND_APPROVAL:
            what = f"waits for an approval of {found.tool}"
        case kind if kind == PENDING_INPUT_KIND_QUESTION:
            what = f"asks: {' '.join(found.question.split())}"
        case kind if kind == PENDING_INPUT_KIND_CLIENT_TOOL:
            what = f"waits for a result of {found.tool}"
        case kind if kind == PENDING_INPUT_KIND_ELICITATION:
            what = f"{found.tool} asks: {' '.join(found.question.split())}"
        case kind if kind == PENDING_INPUT_KIND_AUTHORIZATION:
            said = " ".join(found.question.split())
            what = f"{found.tool} asks a person to open {found.url} : {said}"
        case _:
            what = f"waits for {kind_name(found)} {found.id}"
    return f"{what} ({command_for(found)})"


def resolved_text(resolution: InputResolution) -> str:
    """Return one line: how a pending input was resolved, and by whom."""
    how = str(resolution.how)
    if resolution.how in InputResolutionKind.values():
        name = InputResolutionKind.Name(resolution.how)
        how = name.removeprefix("INPUT_RESOLUTION_KIND_").lower()
    by = f" by {resolution.by}" if resolution.by else ""
    edited = ", with other arguments" if resolution.edited_digest else ""
    remembered = ", and all further calls of the tool" if resolution.remembered else ""
    return f"{resolution.input_id} {how}{by}{edited}{remembered}"


def people_text(event: WatchAgentExecutionResponse) -> str:
    """Return an event of what people have to do with as a line; "" for another event."""
    match event.WhichOneof("event"):
        case "input_requested":
            return requested_text(event.input_requested.input)
        case "input_resolved":
            return resolved_text(event.input_resolved.resolution)
        case "message_received":
            received = event.message_received
            return f"message from {received.by}: {' '.join(received.text.split())}"
        case _:
            return ""


def detail_lines(found: PendingInput) -> Iterator[str]:
    """Yield what is known of a pending input: arguments and schema whole, as indented JSON."""
    rows = [
        ("input", found.id),
        ("kind", kind_name(found)),
        ("execution", found.execution_id),
        ("agent", found.agent_id or "(inline)"),
        ("tool", found.tool),
        ("since", f"{as_time(found.request_time)} ({as_age(found.request_time)})"),
        ("expires", as_time(found.expire_time) if found.HasField("expire_time") else ""),
        ("approvers", ", ".join(found.approvers)),
        ("question", found.question),
        ("page", found.url),
        ("arguments", _indented(found.arguments_json) if _has_arguments(found) else ""),
        ("schema", _indented(found.schema)),
    ]
    for name, value in rows:
        if value:
            yield f"{name + ':':10} {value}"
    allowed = [
        "not by who started it" if found.not_starter else "",
        "arguments may be changed" if found.allow_edit else "",
        "may be for all further calls" if found.allow_remember else "",
    ]
    if any(allowed):
        yield f"{'allowed:':10} {', '.join(filter(None, allowed))}"


def _indented(text: str) -> str:
    return f"\n{indent_json(text)}" if text else ""


def _has_arguments(found: PendingInput) -> bool:
    """Return whether arguments are shown: a question's are its text and schema."""
    return found.kind != PENDING_INPUT_KIND_QUESTION
