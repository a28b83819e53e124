"""From a document's text to its program, once for each text."""

from __future__ import annotations

from functools import lru_cache

from stigma.contracts import limits
from zigflow_worker.compilation import CompilableKinds, Compiler
from zigflow_worker.definition import (
    HeavyDocumentError,
    InvalidDocumentError,
    Problem,
    ProblemList,
    read_definition,
    read_for_problems,
)
from zigflow_worker.loading import (
    DocumentError,
    DocumentTooHeavyError,
    load_document,
    load_for_problems,
)
from zigflow_worker.program.model import Program


@lru_cache(maxsize=128)
def compile_text(
    text: str,
    kinds: CompilableKinds,
    *,
    bounded: bool = True,
    strict: bool = True,
    resources: tuple[tuple[str, str], ...] = (),
) -> Program:
    """Return the program of a document whose tasks are of these kinds.

    Programs are pure: runs and threads share them.

    Args:
        text: of the document.
        kinds: of its tasks.
        bounded: refuse a document that takes longer than a workflow task may.
        strict: refuse what 0.1.0 read over.
        resources: URIs and texts of the documents that were fetched for it.

    Raises:
        HeavyDocumentError: it takes longer.
        InvalidDocumentError: with every problem found.
    """
    most = limits.MAX_DOCUMENT_WEIGHT if bounded else None
    try:
        # Called as the directory of documents calls it, so that the text is read once.
        source = load_document(text) if bounded else load_document(text, None)
    except DocumentError as error:
        problem = Problem(error.line, error.column, error.pointer, error.message)
        heavy = isinstance(error, DocumentTooHeavyError)
        raise (HeavyDocumentError if heavy else InvalidDocumentError)([problem]) from None
    return Compiler(
        read_definition(source, kinds, strict=strict), source, most, dict(resources)
    ).program()


def problems_in(text: str, kinds: CompilableKinds) -> tuple[Problem, ...]:
    """Return every problem of a document that can be told at once, in the order of their places.

    One that only follows from another is left out. `compile_text` refuses a document for the same
    problems: it tells the first of each task, and those of expressions and names once all tasks can
    be read.
    """
    source, errors = load_for_problems(text)
    problems = {Problem(each.line, each.column, each.pointer, each.message) for each in errors}
    if source is not None:
        found = ProblemList(source)
        definition = read_for_problems(source, kinds, found)
        if definition is not None:
            try:
                Compiler(definition, source, every=found).program()
            except HeavyDocumentError as error:
                found.problems.extend(error.problems)
        problems.update(found.told())
    return tuple(sorted(problems))
