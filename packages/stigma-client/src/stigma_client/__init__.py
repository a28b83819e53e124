"""Run a Stigma agent, or a Stigma workflow, from any Temporal workflow.

Nothing is imported before its first use: a program that only connects needs no Temporal.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stigma_client.connection import ApiConnection, TlsFiles
    from stigma_client.errors import (
        AgentExecutionCancelled,
        AgentExecutionError,
        AgentExecutionFailed,
        AgentExecutionTimedOut,
        ExecutionError,
        WorkflowExecutionCancelled,
        WorkflowExecutionError,
        WorkflowExecutionFailed,
        WorkflowExecutionTimedOut,
    )
    from stigma_client.plugin import StigmaPlugin
    from stigma_client.results import AgentResult, WorkflowResult
    from stigma_client.workflow import run_agent, run_workflow

__all__ = [
    "AgentExecutionCancelled",
    "AgentExecutionError",
    "AgentExecutionFailed",
    "AgentExecutionTimedOut",
    "AgentResult",
    "ApiConnection",
    "ExecutionError",
    "StigmaPlugin",
    "TlsFiles",
    "WorkflowExecutionCancelled",
    "WorkflowExecutionError",
    "WorkflowExecutionFailed",
    "WorkflowExecutionTimedOut",
    "WorkflowResult",
    "run_agent",
    "run_workflow",
]

_MODULES = ("connection", "errors", "results", "workflow", "plugin")


def __getattr__(name: str) -> Any:
    """Import what is exported: all of it, for workflow code imports nothing while it runs."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for module in _MODULES:
        found = vars(import_module(f"{__name__}.{module}"))
        globals().update({each: found[each] for each in __all__ if each in found})
    return globals()[name]
