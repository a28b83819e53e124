"""Pending inputs as pages show them, and what an edit of arguments changes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from stigma.agent.v1.agent_execution_pb2 import (
    PENDING_INPUT_KIND_APPROVAL,
    PENDING_INPUT_KIND_AUTHORIZATION,
    PENDING_INPUT_KIND_ELICITATION,
    PENDING_INPUT_KIND_QUESTION,
    PendingInput,
    PendingInputKind,
)
from stigma.contracts.indented_json import indent_json

_LABELS = {"question": "Answer", "form": "Answer, a JSON object"}
_KINDS = {PENDING_INPUT_KIND_ELICITATION: "form", PENDING_INPUT_KIND_AUTHORIZATION: "page"}
_SIGNS = {"+ ": "added", "- ": "removed", "  ": "same"}


@dataclass(frozen=True)
class InputView:
    """One pending input."""

    id: str
    path: str
    """Of its page, which takes its answer as well."""
    execution_id: str
    agent: str
    kind: str
    tool: str
    question: str
    url: str
    """Of a page that a person is to open; shown as text."""
    arguments: str
    """In full, as indented JSON; empty for a question."""
    schema: str
    is_whole: bool
    """Whether arguments and schema are there; without them nothing can be answered."""
    may_answer: bool
    digest: str
    since: datetime
    expires: datetime | None
    approvers: Sequence[str]
    not_starter: bool
    allow_edit: bool
    allow_remember: bool

    @property
    def is_approval(self) -> bool:
        """Whether a call waits for an approval."""
        return self.kind == "approval"

    @property
    def answer_label(self) -> str:
        """Name of the field for the answer; empty for a page, which has none."""
        return "" if self.url else _LABELS.get(self.kind, "Result")

    @property
    def answer_button(self) -> str:
        """Text of the button that answers."""
        if self.url:
            return "Done, I have opened it"
        return "Answer" if self.kind in _LABELS else "Send the result"


def input_view(found: PendingInput, *, may_answer: bool) -> InputView:
    """Return the view of a pending input."""
    is_question = found.kind == PENDING_INPUT_KIND_QUESTION
    return InputView(
        id=found.id,
        path=f"/executions/{quote(found.execution_id, safe='')}/inputs/{quote(found.id, safe='')}",
        execution_id=found.execution_id,
        agent=found.agent_id,
        kind=_kind(found),
        tool=found.tool,
        question=printable(found.question),
        url=printable(found.url),
        arguments="" if is_question else printable(indent_json(found.arguments_json)),
        schema=printable(indent_json(found.schema)) if found.schema else "",
        is_whole=bool(found.arguments_json),
        may_answer=may_answer,
        digest=found.arguments_digest,
        since=found.request_time.ToDatetime(tzinfo=UTC),
        expires=found.expire_time.ToDatetime(tzinfo=UTC) if found.HasField("expire_time") else None,
        approvers=list(found.approvers),
        not_starter=found.not_starter,
        allow_edit=found.allow_edit and found.kind == PENDING_INPUT_KIND_APPROVAL,
        allow_remember=found.allow_remember and found.kind == PENDING_INPUT_KIND_APPROVAL,
    )


@dataclass(frozen=True)
class DiffLine:
    """A line of a change: `added`, `removed` or `same`."""

    sign: str
    text: str


def changes(before: str, after: str) -> Iterator[DiffLine]:
    """Yield the lines of two JSON texts, indented, with what one has and the other has not."""
    old, new = (printable(indent_json(each)).splitlines() for each in (before, after))
    for line in difflib.ndiff(old, new):
        if sign := _SIGNS.get(line[:2]):
            yield DiffLine(sign, line[2:])


def printable(text: str) -> str:
    """Return text whose bidi and other format characters are escapes, as JSON writes them.

    What is approved must not read as something else: these reorder or hide what is beside them.
    """
    return "".join(
        each if each.isprintable() or each in "\n\t" else _escaped(each) for each in text
    )


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _kind(found: PendingInput) -> str:
    if found.kind in _KINDS:
        return _KINDS[found.kind]
    if found.kind not in PendingInputKind.values():
        return str(found.kind)
    name = PendingInputKind.Name(found.kind).removeprefix("PENDING_INPUT_KIND_")
    return name.replace("_", " ").lower()
