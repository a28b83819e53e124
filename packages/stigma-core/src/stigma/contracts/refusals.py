"""Codes of the reasons for which the workflow engine refuses a run before its first task.

Such a run's failure has the code in its details, the RFC 7807 object, beside type and title: the
types alone do not distinguish it from the same error of a task.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

KEY = "refusal"


class Refusal(StrEnum):
    """The part of a start that has to be corrected."""

    START = "INVALID_START"
    """The workflow's argument is not a start input."""
    UNKNOWN_DOCUMENT = "UNKNOWN_DOCUMENT"
    """No document, or no single one, has the name of the workflow type."""
    DOCUMENT = "INVALID_DOCUMENT"
    INPUT = "INVALID_INPUT"
    """The document does not take this input."""


def refusal_in(details: object) -> Refusal | None:
    """Return the code in a failure's detail; None for a task's failure, or an unknown code."""
    code = details.get(KEY) if isinstance(details, Mapping) else None
    return next((refusal for refusal in Refusal if refusal == code), None)
