"""Summaries of what a document's run waits for: calls and timers, as Temporal shows them.

They are for people, and for the API, which knows tasks by them. A text of an earlier release is
read as far as it says something.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import NamedTuple

INLINE_AGENT = "inline agent"
"""Name of an agent that has none in the summary of its call; a name has no spaces."""

_MAX_SUMMARY = 98
"""Characters."""
_MAX_BYTES = 370
"""Of a summary as JSON, without its quotes: Temporal's limit for the whole payload is 400."""
_MIN_POINTER = 16
# Names of agents have no spaces; a pointer begins with a slash, or with what stands for its start.
_AGENT = re.compile(r"(.+?)(?: ([/…].*))?", re.DOTALL)
_NOT_IN_NAMES = re.compile(r"[^ -~]")
_TRIES = re.compile(r"(.*) \(try (\d{1,9})(?: of (\d{1,9}))?\)", re.DOTALL)
_CUT = "…"
_DOCUMENT = "/"


class Tries(NamedTuple):
    """Which try of a task it is, where a `try` with a retry policy is around it."""

    number: int
    """Counts from 1."""
    most: int = 0
    """Tries that the policy allows, the first included; 0: no limit."""

    def __str__(self) -> str:
        return f"try {self.number} of {self.most}" if self.most else f"try {self.number}"


class TimerKind(StrEnum):
    """The use of a timer."""

    WAIT = "wait"
    RETRY = "retry"
    """The delay before a retry."""
    TIMEOUT = "timeout"


class TimerUse(NamedTuple):
    """The use of a timer of a document."""

    kind: TimerKind
    task: str
    """JSON pointer of the task, or its end after "…"; "/": the whole document."""
    tries: Tries | None = None
    """Of a delay before a retry: the try that follows."""

    def __str__(self) -> str:
        """Return the use as it follows a time, for instance "before try 2 of 5 of /do/0/a"."""
        match self.kind:
            case TimerKind.WAIT:
                return f"of the wait {self.task}"
            case TimerKind.RETRY:
                return f"before {self.tries or 'a retry'} of {self.task}"
            case TimerKind.TIMEOUT:
                whole = self.task == _DOCUMENT
                return "of the document's timeout" if whole else f"of the timeout of {self.task}"


def call_summary(pointer: str, tries: Tries | None = None) -> str:
    """Return the summary of a call: the task's pointer, or its end, and which retry it is."""
    return _joined("", pointer, tries)


def call_of(summary: str) -> tuple[str, Tries | None]:
    """Return the task's pointer of a call's summary, and which retry it is; None: the first try."""
    found = _TRIES.fullmatch(summary)
    return (found[1], _tries(found[2], found[3])) if found else (summary, None)


def agent_summary(agent: str, pointer: str, tries: Tries | None = None) -> str:
    """Return the summary of an agent's call: "AGENT POINTER", and which retry it is.

    Args:
        agent: name, or name@version; "" for an inline agent.
        pointer: JSON pointer of the task, of which the end is left where it is long.
        tries: of the call; None: a `try` with retries is not around it.
    """
    name = _NOT_IN_NAMES.sub("?", agent or INLINE_AGENT)[:_MAX_SUMMARY]
    room = _MAX_SUMMARY - len(name) - 1
    if room - len(_retry_text(tries)) < _MIN_POINTER:
        tries = None
    return _joined(f"{name} ", pointer, tries) if room >= _MIN_POINTER else name


def agent_call_of(summary: str) -> tuple[str, str, Tries | None]:
    """Return the agent of its call's summary, the task's pointer, and which retry it is.

    The agent is "" for an inline one. The pointer is "" where there is none: releases up to 0.2.0
    name the agent alone.
    """
    text, tries = call_of(summary)
    found = _AGENT.fullmatch(text)
    agent, task = found.groups("") if found else (text, "")
    return ("" if agent == INLINE_AGENT else agent), task, tries


def timer_summary(use: TimerUse) -> str:
    """Return the summary of a timer, for instance "retry /do/0/order (try 2 of 5)"."""
    return _joined(f"{use.kind} ", use.task or _DOCUMENT, use.tries)


def timer_use_of(summary: str) -> TimerUse | None:
    """Return what a timer is for; None: its summary does not say so, as up to 0.2.0."""
    kind, _, rest = summary.partition(" ")
    task, tries = call_of(rest)
    if kind not in set(TimerKind) or task[:1] not in ("/", _CUT):
        return None
    return TimerUse(TimerKind(kind), task, tries)


def is_around(outer: str, task: str) -> bool:
    """Return whether a task, by the pointers of summaries, is certainly another one or in it."""
    is_cut = _CUT in (outer[:1], task[:1])
    return outer == _DOCUMENT or (not is_cut and f"{task}/".startswith(f"{outer}/"))


def _joined(before: str, pointer: str, tries: Tries | None) -> str:
    """Return a summary of these parts, with as much of the pointer's end as there is room for."""
    after = _retry_text(tries)
    shown = _end(pointer, _MAX_SUMMARY - len(before) - len(after))
    while not _fits(f"{before}{shown}{after}") and shown != _CUT:
        shown = f"{_CUT}{shown[2:]}"
    return f"{before}{shown}{after}"


def _fits(text: str) -> bool:
    """Return whether a text is small enough in bytes: tasks' names may have any characters."""
    quoted = json.dumps(text, ensure_ascii=False).encode()
    return len(quoted) - 2 <= _MAX_BYTES


def _retry_text(tries: Tries | None) -> str:
    return "" if tries is None or tries.number < 2 else f" ({tries})"


def _tries(number: str, most: str | None) -> Tries:
    return Tries(int(number), int(most or 0))


def _end(pointer: str, room: int) -> str:
    return pointer if len(pointer) <= room else f"{_CUT}{pointer[1 - room :]}"
