"""Names of the changes of what a run does, for `workflow.patched`.

A run that began before a change goes on as it began.
"""

from __future__ import annotations

DOCUMENT_WEIGHT = "document-weight"
"""Refuses documents beyond limits.MAX_DOCUMENT_WEIGHT."""
DOCUMENT_FORM = "document-form"
"""Refuses documents that 0.1.0 read over, for instance with `metadata` that is no map."""
JSON_DATA = "json-data"
"""Refuses data that JSON cannot say: infinities, halves of surrogate pairs."""
UTF8_SIZES = "utf8-sizes"
"""Measures data as UTF-8."""
WHOLE_FLOATS = "whole-floats"
"""Takes 20.0 for the whole number that it is in JSON."""
SHORT_WAITS = "short-waits"
"""Makes short waits exact."""
FEW_SHORT_WAITS = "few-short-waits"
"""Has few of them at a time."""
COUNTED_TURNS = "counted-turns"
"""Ends activations after turns that the history says, not after steps."""
