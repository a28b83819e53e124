"""Results of `run_agent` and `run_workflow`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Generic

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, Usage
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma_client.kinds import E


@dataclass(frozen=True)
class _Result(Generic[E]):
    execution: E

    @property
    def execution_id(self) -> str:
        """The execution's id, to read more about it through the API."""
        return self.execution.id


@dataclass(frozen=True)
class AgentResult(_Result[AgentExecution]):
    """The outcome of an agent that completed."""

    @property
    def text(self) -> str:
        """The agent's final text."""
        return self.execution.status.output.text

    @property
    def output(self) -> Any:
        """The structured output, parsed, when the agent has an output schema; else the text."""
        output = self.execution.status.output
        return json.loads(output.json) if output.json else output.text

    @property
    def usage(self) -> Usage:
        """Tokens and cost of all model calls."""
        return self.execution.status.usage


@dataclass(frozen=True)
class WorkflowResult(_Result[WorkflowExecution]):
    """The outcome of a Stigma workflow that completed."""

    @property
    def output(self) -> Any:
        """The document's output, parsed."""
        text = self.execution.status.output.json
        return json.loads(text) if text else None
