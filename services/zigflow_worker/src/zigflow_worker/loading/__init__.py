"""Reading documents: YAML 1.2 or JSON to plain data, with the place of everything in it.

Documents are hostile until proven otherwise. The text is read as a flat stream of events and
built without recursion, so that nesting, aliases and size meet our limits before Python's.
Only what JSON can say is accepted: no timestamps, merges, binary data, sets or NaN.
"""

from __future__ import annotations

from zigflow_worker.loading.documents import (
    load_document,
    load_for_problems,
    load_foreign,
)
from zigflow_worker.loading.errors import (
    TOO_HEAVY,
    UNREADABLE,
    DocumentError,
    DocumentTooHeavyError,
)
from zigflow_worker.loading.places import SourceDocument

__all__ = [
    "TOO_HEAVY",
    "UNREADABLE",
    "DocumentError",
    "DocumentTooHeavyError",
    "SourceDocument",
    "load_document",
    "load_for_problems",
    "load_foreign",
]
