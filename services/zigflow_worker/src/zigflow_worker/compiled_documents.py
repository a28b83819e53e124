"""Compiles the documents of runs: what was valid when a run began stays valid for it."""

from __future__ import annotations

from collections.abc import Mapping

from temporalio import workflow

from stigma.contracts import engine
from stigma.contracts.refusals import Refusal
from zigflow_worker.changes import DOCUMENT_FORM, DOCUMENT_WEIGHT
from zigflow_worker.definition import (
    HeavyDocumentError,
    InvalidDocumentError,
    LooseDocumentError,
)
from zigflow_worker.errors import CONFIGURATION, VALIDATION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.failures import printable, shortened
from zigflow_worker.program.model import Program
from zigflow_worker.programs import compile_text, problems_in
from zigflow_worker.tasks.registry import TASK_KINDS

_MAX_LISTED_PART = 300
"""Of each of a hundred problems, which all are in one failure."""


def compile_document(text: str, *, continued: bool) -> Program:
    """Return the program of a document.

    Args:
        text: of the document.
        continued: the run began before, by the rules of its time.

    Raises:
        WorkflowError: the document is not valid.
    """
    try:
        if continued:
            return _compiled(text, bounded=False, strict=False)
        # A run that began before there was a limit or a rule goes on without it.
        try:
            return _compiled(text)
        except LooseDocumentError:
            if workflow.patched(DOCUMENT_FORM):
                raise
        except HeavyDocumentError:
            if workflow.patched(DOCUMENT_WEIGHT):
                raise
        return _compiled(text, bounded=False, strict=False)
    except InvalidDocumentError as error:
        first = error.problems[0]
        detail = f"the document is not valid: {error}"
        invalid = WorkflowError.of(VALIDATION, detail, first.pointer or "/")
        raise invalid.with_refusal(Refusal.DOCUMENT) from None


def validate_document(text: str) -> JSON:
    """Return the name of a document that can be run.

    Raises:
        WorkflowError: it cannot; with all problems that can be told at once.
    """
    try:
        return _named(compile_document(text, continued=False))
    except WorkflowError as error:
        with workflow.unsafe.imports_passed_through(), workflow.unsafe.sandbox_unrestricted():
            problems = problems_in(text, TASK_KINDS)[: engine.MAX_PROBLEMS]
        listed: list[JSON] = [
            {
                "line": each.line,
                "column": each.column,
                "pointer": printable(shortened(each.pointer, _MAX_LISTED_PART)),
                "message": printable(shortened(each.message, _MAX_LISTED_PART)),
            }
            for each in problems
        ]
        raise WorkflowError({**error.problem, engine.PROBLEMS_KEY: listed}) from None


def compile_with_resources(text: str, resources: dict[str, str], *, continued: bool) -> Program:
    """Return the same with the schemas that were fetched for it, by their URIs."""
    try:
        return _compiled(text, bounded=not continued, resources=resources)
    except InvalidDocumentError as error:
        pointer = error.problems[0].pointer
        detail = f"a schema that was fetched is not valid: {error}"
        raise WorkflowError.of(CONFIGURATION, detail, pointer) from None


def _compiled(
    text: str,
    *,
    bounded: bool = True,
    strict: bool = True,
    resources: Mapping[str, str] | None = None,
) -> Program:
    texts = tuple((resources or {}).items())
    # Compiling is pure; the sandbox would load the YAML library anew for every run.
    with workflow.unsafe.imports_passed_through(), workflow.unsafe.sandbox_unrestricted():
        return compile_text(text, TASK_KINDS, bounded=bounded, strict=strict, resources=texts)


def _named(program: Program) -> JSON:
    return {
        "valid": True,
        "namespace": program.namespace,
        "name": program.name,
        "version": program.version,
    }
