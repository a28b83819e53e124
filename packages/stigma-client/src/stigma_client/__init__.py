"""Run a Stigma agent, or a Stigma workflow, from any Temporal workflow."""

from __future__ import annotations

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
