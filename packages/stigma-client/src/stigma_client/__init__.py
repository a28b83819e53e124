"""Run a Stigma agent from any Temporal workflow."""

from stigma_client.connection import ApiConnection, TlsFiles
from stigma_client.errors import (
    AgentExecutionCancelled,
    AgentExecutionError,
    AgentExecutionFailed,
    AgentExecutionTimedOut,
)
from stigma_client.plugin import StigmaPlugin
from stigma_client.results import AgentResult
from stigma_client.workflow import run_agent

__all__ = [
    "AgentExecutionCancelled",
    "AgentExecutionError",
    "AgentExecutionFailed",
    "AgentExecutionTimedOut",
    "AgentResult",
    "ApiConnection",
    "StigmaPlugin",
    "TlsFiles",
    "run_agent",
]
