"""Errors of a run as failures of its Temporal workflow."""

from __future__ import annotations

from temporalio.exceptions import ApplicationError

from stigma.contracts import json_text
from zigflow_worker.errors import WorkflowError, summary
from zigflow_worker.expressions import JSON
from zigflow_worker.program.encoded_sizes import encoded_size

_MAX_PROBLEM_BYTES = 64 * 1024
_MAX_PROBLEM_PART = 2_000


def failure_of(error: WorkflowError) -> ApplicationError:
    """Return what fails the Temporal workflow; its details are the error's own."""
    problem = error.problem
    if encoded_size(problem, _MAX_PROBLEM_BYTES).utf8 > _MAX_PROBLEM_BYTES:
        problem = {name: shortened(value) for name, value in problem.items()}
    problem = {name: printable(value) for name, value in problem.items()}
    error_type = str(problem["type"])
    return ApplicationError(summary(problem), problem, type=error_type, non_retryable=True)


def shortened(value: JSON, most: int = _MAX_PROBLEM_PART) -> JSON:
    """Return a text without what is beyond so many characters, and other data as it is."""
    if not isinstance(value, str) or len(value) <= most:
        return value
    return f"{value[:most]}…"


def printable(value: JSON) -> JSON:
    """Return a text without halves of surrogate pairs, and other data as it is."""
    return json_text.replace_surrogates(value) if isinstance(value, str) else value
