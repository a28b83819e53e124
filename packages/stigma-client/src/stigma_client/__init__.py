"""Run a Stigma agent, or a Stigma workflow, from any Temporal workflow.

Nothing is imported before its first use: a program that only connects needs no Temporal.
"""

from __future__ import annotations

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
    """Import what is exported: all of it, so that the next use imports nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _import_exports()
    return globals()[name]


def _import_exports() -> None:
    """Import all modules, also where the first use is in a workflow that runs in the sandbox."""
    from temporalio.workflow import unsafe  # noqa: PLC0415 - at the first use

    with unsafe.imports_passed_through(), unsafe.sandbox_unrestricted():
        for module in _MODULES:
            # `import_module` would not pass through.
            found = vars(__import__(f"{__name__}.{module}", fromlist=("*",)))
            globals().update({each: found[each] for each in __all__ if each in found})
