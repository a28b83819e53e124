"""From a document's text to its program, once for each text."""

from functools import lru_cache

from zigflow_worker.compilation.compiler import Compiler
from zigflow_worker.definition import InvalidDocumentError, Problem, read_definition
from zigflow_worker.loading import DocumentError, load_document
from zigflow_worker.program import Program
from zigflow_worker.tasks.registry import REGISTRY


@lru_cache(maxsize=128)
def compile_text(text: str) -> Program:
    """Return the program of a document (raises InvalidDocumentError).

    Programs are pure: runs and threads share them.
    """
    try:
        source = load_document(text)
    except DocumentError as error:
        problem = Problem(error.line, error.column, error.pointer, error.message)
        raise InvalidDocumentError([problem]) from None
    return Compiler(read_definition(source, REGISTRY), source).program()
