"""The filter grammar of lists of executions, compiled to a Temporal visibility query.

    filter    = [ condition { "AND" condition } ]
    condition = ( KIND | "session" | "labels." KEY ) "=" STRING
              | "phase" "=" PHASE
              | ( "root" | "parent" ) "=" STRING                of agents
              | "start_time" ( ">=" | "<=" | "=" ) STRING      RFC 3339
    KIND      = "agent" or "workflow", whichever are listed
    STRING    = '"' … '"'      without quotes, apostrophes and backslashes inside

Only values of a filter reach the query, and they have no character that could end a literal, there
or in the databases behind: Temporal's SQLite takes a quote in a keyword list for syntax. Labels and
sessions cannot have these characters either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from stigma.contracts import search_attributes
from stigma.contracts.executions import Kind
from stigma_api import errors
from stigma_api.temporal.visibility import quoted

MAX_FILTER_BYTES = 4096
MAX_CONDITIONS = 16

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"[^"'\\\x00-\x1f\x7f]*")
          |(?P<operator>>=|<=|=)
          |(?P<word>[A-Za-z0-9_][A-Za-z0-9_./-]*))""",
    re.VERBOSE,
)
_NAMES = {Kind.AGENT: search_attributes.AGENT, Kind.WORKFLOW: search_attributes.WORKFLOW}
_TREES = {"root": search_attributes.ROOT, "parent": search_attributes.PARENT}
_PHASE = search_attributes.PHASE.name
# Open is running or paused: servers that cannot pause a workflow refuse a query for that status.
_OPEN = "CloseTime IS NULL"
# Phases: the workflow writes its search attribute only where Temporal's status does not tell.
_PHASES = {
    "PENDING": _OPEN,
    "RUNNING": _OPEN,
    "INPUT_REQUIRED": f"({_OPEN} AND {_PHASE} = 'INPUT_REQUIRED')",
    "COMPLETED": f"(ExecutionStatus = 'Completed' OR {_PHASE} = 'COMPLETED')",
    "FAILED": (
        f"(ExecutionStatus IN ('Failed', 'Terminated') AND "
        f"({_PHASE} IS NULL OR {_PHASE} = 'FAILED'))"
    ),
    "CANCELLED": f"(ExecutionStatus = 'Canceled' OR {_PHASE} = 'CANCELLED')",
    "TIMED_OUT": f"(ExecutionStatus = 'TimedOut' OR {_PHASE} = 'TIMED_OUT')",
}


def compile_filter(text: str, kind: Kind = Kind.AGENT) -> list[str]:
    """Return the conditions of a visibility query on executions of a kind; all must hold.

    Raises:
        ApiError: INVALID_ARGUMENT on `filter`, saying what was expected where.
    """
    if len(text.encode()) > MAX_FILTER_BYTES:
        raise _bad(f"has more than {MAX_FILTER_BYTES} bytes")
    tokens = list(_tokens(text))
    conditions = []
    while tokens:
        condition = [tokens.pop(0) if tokens else ("end", "") for _ in range(3)]
        conditions.append(_condition(condition, kind))
        if tokens and (tokens.pop(0) != ("word", "AND") or not tokens):
            raise _bad("conditions are joined by AND")
    if len(conditions) > MAX_CONDITIONS:
        raise _bad(f"has more than {MAX_CONDITIONS} conditions")
    return conditions


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise _bad(f"cannot be read from character {at + 1} on")
        at = match.end()
        yield str(match.lastgroup), match[str(match.lastgroup)]


def _condition(tokens: list[tuple[str, str]], listed: Kind) -> str:
    (kind, field), (operator_kind, operator), (value_kind, value) = tokens
    if kind != "word" or operator_kind != "operator":
        raise _bad('a condition is FIELD OPERATOR VALUE, as in session = "s-1"')
    if field == "start_time":
        return f"StartTime {operator} {quoted(_time(_string(field, value_kind, value)))}"
    label = field.removeprefix("labels.") if field.startswith("labels.") else ""
    trees = _TREES if listed is Kind.AGENT else {}
    if field not in {listed, "phase", "session", *trees} and not label:
        named = ", ".join((listed, "phase", "session", *trees))
        raise _bad(f"a field is {named}, start_time or labels.KEY")
    if operator != "=":
        raise _bad(f"{field} is compared with =")
    if field == "phase":
        phase = value if value_kind == "word" else _string(field, value_kind, value)
        if phase not in _PHASES:
            raise _bad(f"phase is one of {', '.join(_PHASES)}")
        return _PHASES[phase]
    text = _string(field, value_kind, value)
    if field == listed:
        return f"{_NAMES[listed].name} = {quoted(text)}"
    if field in trees:
        return f"{trees[field].name} = {quoted(text)}"
    if field == "session":
        return f"{search_attributes.SESSION.name} = {quoted(text)}"
    return f"{search_attributes.LABELS.name} = {quoted(f'{label}={text}')}"


def _string(field: str, kind: str, value: str) -> str:
    if kind != "string":
        raise _bad(f"the value of {field} stands in double quotes")
    return value[1:-1]


def _time(value: str) -> str:
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise _bad("start_time is compared with an RFC 3339 time") from None
    if time.tzinfo is None:
        raise _bad("start_time needs a time zone, as in 2026-01-31T12:00:00Z")
    try:
        return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except OverflowError:
        raise _bad("start_time is out of range") from None


def _bad(problem: str) -> errors.ApiError:
    return errors.invalid_argument([("filter", problem)])
