"""Starts of the workflow engine: the argument and the id of a run.

The argument is written as text, so that numbers arrive as they were sent.
"""

from __future__ import annotations

import json

from temporalio.common import RawValue

from stigma.contracts import json_text, payloads

TRACE_QUERY = "trace"
"""Name of the query that a run answers with its latest tasks."""

REASON_KEY = "reason"
"""Key of an engine's error whose value is the name of a FailureReason, for instance TOO_LARGE."""


def run_id(execution_id: str) -> str:
    """Return the workflow id of the engine's run for a workflow execution."""
    return "run-" + execution_id.partition("-")[2]


def start_argument(document: str, input_json: str) -> RawValue:
    """Return the argument of a run.

    Args:
        document: its text, YAML or JSON.
        input_json: the workflow's input as JSON text; empty: null.

    Raises:
        ValueError: the input is not JSON.
    """
    if input_json:
        _check(input_json)
    text = f'{{"document":{json_text.compact(document)},"input":{input_json or "null"}}}'
    return RawValue(payloads.json_text_payload(text))


def validation_argument(document: str) -> RawValue:
    """Return the argument of a run that only checks a document.

    It completes with `{"valid": true, "name": …, "namespace": …, "version": …}`, or fails with
    `Refusal.DOCUMENT`.
    """
    return RawValue(
        payloads.json_text_payload(f'{{"document":{json_text.compact(document)},"validate":true}}')
    )


def _check(text: str) -> None:
    # What is spliced into the argument must be one value: it could bring keys of its own. Numbers
    # that are not finite are refused where the input is taken, and by the engine.
    try:
        json.loads(text, parse_constant=json_text.refuse_constant, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        raise ValueError("the input is not JSON") from None
