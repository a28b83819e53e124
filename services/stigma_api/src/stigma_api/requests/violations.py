"""Violations of a request's rules, and the rules that fields of several messages share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from stigma.contracts import json_text, limits
from stigma_api import errors
from stigma_api.temporal.visibility import is_quotable

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?")
_MAX_DESCRIPTION_BYTES = 4 * 1024
_LONGEST = timedelta(days=3650)
_VERSION = re.compile(r"[1-9][0-9]{0,18}")
_MAX_VERSION = 2**63 - 1


class Violations:
    """Collects the violations of a request, each with the path of its field."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []

    def add(self, field: str, description: str) -> None:
        """Record a violation."""
        self._found.append((field, description))

    def require(self, ok: object, field: str, description: str) -> None:
        """Record a violation unless `ok`."""
        if not ok:
            self.add(field, description)

    def size(self, field: str, value: str | bytes, limit: int) -> None:
        """Check the bytes of a value against a limit."""
        size = len(value.encode()) if isinstance(value, str) else len(value)
        self.require(size <= limit, field, f"has {size} bytes, the limit is {limit}")

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._found)

    def has(self, field: str) -> bool:
        """Return whether a field, or what it is in, is refused."""
        return _is_refused(field, self._found)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Record the violations that the body raises, but of fields that are refused already.

        Any other refusal is raised where there are no violations: else those are the answer.
        """
        try:
            yield
        except errors.ApiError as error:
            if not error.violations and not self._found:
                raise
            known = list(self._found)
            self._found += [each for each in error.violations if not _is_refused(each[0], known)]

    def raise_if_any(self) -> None:
        """Raise INVALID_ARGUMENT with BadRequest details if there are violations."""
        if self._found:
            raise errors.invalid_argument(self._found)

    def description(self, at: str, value: str) -> None:
        """Check the description of a definition."""
        self.size(at, value, _MAX_DESCRIPTION_BYTES)

    def duration(
        self,
        at: str,
        parent: Message,
        name: str,
        *,
        positive: bool = True,
        longest: timedelta = _LONGEST,
    ) -> bool:
        """Check a duration, if it is given; return whether it is fine."""
        if not parent.HasField(name):
            return True
        value: Duration = getattr(parent, name)
        # As integers first: a malformed Duration cannot be converted.
        fine = abs(value.seconds) <= _LONGEST.total_seconds() and abs(value.nanos) < 10**9
        sign = (value.seconds or value.nanos) if fine else 0
        fine = fine and (sign > 0 if positive else sign >= 0) and value.nanos * value.seconds >= 0
        fine = fine and value.ToTimedelta() <= longest
        kind = "positive" if positive else "zero or positive"
        days, hours = longest.days, longest.total_seconds() / 3600
        most = f"{days} days" if days > 1 else f"{hours:g} hours"
        self.require(fine, at, f"must be {kind}, and at most {most}")
        return fine

    def labels(self, at: str, labels: Mapping[str, str]) -> None:
        """Check labels."""
        fine = len(labels) <= limits.MAX_LABELS
        self.require(fine, at, f"has {len(labels)} labels, the limit is {limits.MAX_LABELS}")
        for key, value in labels.items():
            if not _LABEL_KEY.fullmatch(key):
                self.add(at, "keys must be letters, digits, dots, dashes, slashes and underscores")
                continue
            self.size(f"{at}.{key}", f"{key}={value}", limits.MAX_LABEL_BYTES)
            self.quotable(f"{at}.{key}", value)

    def definition_id(self, at: str, value: str) -> tuple[str, int | None]:
        """Check "name" or "name@version"; return its name and version."""
        name, mark, version = value.partition("@")
        problem = "a name is 1 to 63 lower-case letters, digits and dashes, not at its ends"
        self.require(is_name(name), at, problem)
        number = int(version) if _VERSION.fullmatch(version) else None
        fine = not mark or (number is not None and number <= _MAX_VERSION)
        self.require(fine, at, "a version is a number from 1 on, as in name@3")
        return name, number

    def quotable(self, at: str, value: str) -> None:
        """Check that a filter can name the value."""
        self.require(
            is_quotable(value), at, "has quotes, apostrophes, backslashes or control characters"
        )


def _is_refused(field: str, violations: Sequence[tuple[str, str]]) -> bool:
    return any(
        field == known or field.startswith((f"{known}.", f"{known}[")) for known, _ in violations
    )


def is_name(value: str) -> bool:
    """Return whether a definition may have this name."""
    return _NAME.fullmatch(value) is not None


def parse_json(text: str) -> tuple[object, str]:
    """Return the JSON value and "", or None and the problem."""
    try:
        value = json_text.parse(text)
    except UnicodeEncodeError:
        return None, "is not JSON that can be read: half of a surrogate pair is no character"
    except json.JSONDecodeError as error:
        at = f"line {error.lineno} column {error.colno}"
        return None, f"is not JSON: {error.msg} at {at}"
    except json_text.NestingError:
        return None, "is not JSON that can be read: nested too deeply"
    except ValueError:
        return None, "is not JSON that can be read: a number is not finite or too long"
    return value, ""
