"""CloudEvents 1.0: the attributes of an event, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from zigflow_worker.expressions import JSON

SPEC_VERSION = "1.0"
_REQUIRED = ("id", "source", "type")
_TEXTS = (*_REQUIRED, "specversion", "time", "subject", "datacontenttype", "dataschema")
_NAME = re.compile(r"[a-z0-9]+")
_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
_NO_URI = re.compile(r"[\s\x00-\x1f\x7f<>\"{}|\\^`]")
_MAX_INTEGER = 2**31


def rfc3339(timestamp: float) -> str:
    """Return a Unix time as events have it, in UTC, to the millisecond."""
    text = datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def name_problem(name: str) -> str | None:
    """Return why a name cannot be an attribute's, in one line, or None."""
    if _NAME.fullmatch(name):
        return None
    return f"'{name}' is not an attribute of an event: lower-case letters and digits only"


def attribute_problem(name: str, value: JSON) -> str | None:
    """Return why an attribute, or `data`, cannot have a value, in one line, or None."""
    if name == "data":
        return None
    if name not in _TEXTS:
        return _extension_problem(name, value)
    if not isinstance(value, str) or not value.strip():
        return f"the {name} of an event must be a string that is not empty"
    return _text_problem(name, value)


def new_event(attributes: Mapping[str, JSON], defaults: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return an event: its attributes that are not null, defaults, and `data` last."""
    given = {name: value for name, value in attributes.items() if value is not None}
    event = {"specversion": SPEC_VERSION, **defaults, **given}
    if "data" in attributes:
        event.pop("data", None)
        event["data"] = attributes["data"]
    return event


def _text_problem(name: str, text: str) -> str | None:
    if name == "specversion" and text != SPEC_VERSION:
        return f"the specversion of an event is '{SPEC_VERSION}'"
    if name == "time" and not _is_time(text):
        return "the time of an event must be an RFC 3339 timestamp such as 2026-01-31T12:00:00Z"
    if name in {"source", "dataschema"} and _NO_URI.search(text):
        return f"the {name} of an event must be a URI"
    return None


def _extension_problem(name: str, value: JSON) -> str | None:
    if isinstance(value, (str, bool)):
        return None
    if isinstance(value, int) and -_MAX_INTEGER <= value < _MAX_INTEGER:
        return None
    return f"the {name} of an event must be a string, a boolean or an integer of 32 bits"


def _is_time(text: str) -> bool:
    if not _TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text.upper())
    except ValueError:
        return False
    return True
