"""From definition to program: expressions, flow targets, references, durations, schemas."""

from __future__ import annotations

from zigflow_worker.compilation.compiler import Compiler
from zigflow_worker.compilation.kind import CompilableKinds, TaskKind
from zigflow_worker.compilation.scope import CompileScope, Variables

__all__ = ["CompilableKinds", "CompileScope", "Compiler", "TaskKind", "Variables"]
