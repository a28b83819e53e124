"""From definition to program: expressions, flow targets, references, durations, schemas."""

from zigflow_worker.compilation.compiler import Compiler, Place, Variables
from zigflow_worker.compilation.documents import compile_text

__all__ = ["Compiler", "Place", "Variables", "compile_text"]
