"""Starts of the workflow engine: the argument and the id of a run.

The argument is written as text, so that numbers arrive as they were sent.
"""

from __future__ import annotations

import json
import re

from temporalio.api.common.v1 import Payloads
from temporalio.common import RawValue

from stigma.contracts import json_text, payloads

TRACE_QUERY = "trace"
"""Name of the query that a run answers with its latest tasks."""

_RUN_ID = re.compile(r"run-[0-9a-f]{32}")
REASON_KEY = "reason"
"""Key of an engine's error whose value is the name of a FailureReason, for instance TOO_LARGE."""
PROBLEMS_KEY = "problems"
"""Key of the list of a refused document's problems, in the error of a run that only checks it.

Each is `{"line": …, "column": …, "pointer": …, "message": …}`; line and column count from 1.
"""
MAX_PROBLEMS = 100


def run_id(execution_id: str) -> str:
    """Return the workflow id of the engine's run for a workflow execution."""
    return "run-" + execution_id.partition("-")[2]


def is_run(workflow_id: str) -> bool:
    """Return whether a workflow is the engine's run for a workflow execution, by its id."""
    return _RUN_ID.fullmatch(workflow_id) is not None


def heartbeat_details(workflow_id: str, execution_id: str) -> Payloads | None:
    """Return the details of a heartbeat that is sent for an activity which waits for an execution.

    They name the execution, for those who look at the pending activity: no history has it before
    the end. None where the engine's run is not what waits: another caller's activity may have
    details of its own.

    Args:
        workflow_id: whose activity it is.
        execution_id: what it waits for.
    """
    if not is_run(workflow_id):
        return None
    return Payloads(payloads=[payloads.json_payload(execution_id)])


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
    `Refusal.DOCUMENT`, and with all problems that can be told at once (`PROBLEMS_KEY`).
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
