"""From a document's text to its program, once for each text."""

from __future__ import annotations

from functools import lru_cache

from zigflow_worker.compilation import CompilableKinds, Compiler
from zigflow_worker.definition import InvalidDocumentError, Problem, read_definition
from zigflow_worker.loading import DocumentError, load_document
from zigflow_worker.program.model import Program


@lru_cache(maxsize=128)
def compile_text(text: str, kinds: CompilableKinds) -> Program:
    """Return the program of a document whose tasks are of these kinds.

    Programs are pure: runs and threads share them.

    Raises:
        InvalidDocumentError: with every problem found.
    """
    try:
        source = load_document(text)
    except DocumentError as error:
        problem = Problem(error.line, error.column, error.pointer, error.message)
        raise InvalidDocumentError([problem]) from None
    return Compiler(read_definition(source, kinds), source).program()
