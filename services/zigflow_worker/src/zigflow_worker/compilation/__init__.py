"""From definition to program: expressions, flow targets, references, durations, schemas."""

from __future__ import annotations

from zigflow_worker.compilation.calls import CallCompiler
from zigflow_worker.compilation.compiler import Compiler
from zigflow_worker.compilation.kind import CompilableKinds, TaskKind
from zigflow_worker.compilation.scope import UNKNOWN, CompileScope, Variables

__all__ = [
    "UNKNOWN",
    "CallCompiler",
    "CompilableKinds",
    "CompileScope",
    "Compiler",
    "TaskKind",
    "Variables",
]
