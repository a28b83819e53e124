"""Kinds of the documents of files, also where their envelopes are misspelt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stigma.contracts.spelling import is_misspelt
from stigma_cli.resource_files import AGENT, ENVELOPE, WORKFLOW, meant_kind
from stigma_cli.violations import is_document

# Keys of an envelope, or nearly, by which it is one without a kind that is known.
_FEWEST_KEYS = 2


def envelope_kind(document: Any) -> str:
    """Return the kind that the envelope of a definition has or means.

    Empty: it is no envelope, but a workflow document or nothing known.
    """
    if not isinstance(document, Mapping) or is_document(document):
        return ""
    if kind := meant_kind(document.get("kind")):
        return kind
    keys = [str(key) for key in document]
    near = [each for each in ENVELOPE if each in keys or is_misspelt(each, keys)]
    if "do" in keys or len(near) < _FEWEST_KEYS:
        return ""
    return _meant(document, keys)


def _meant(document: Mapping[Any, Any], keys: list[str]) -> str:
    """Return the kind that the envelope of an agent or a workflow means."""
    for key in keys:
        named = str(document.get(key))
        if is_misspelt("kind", [key]) and is_misspelt(WORKFLOW, [named]):
            return WORKFLOW
    specs = [each for each in document.values() if isinstance(each, Mapping)]
    return WORKFLOW if any("document" in each for each in specs) else AGENT
