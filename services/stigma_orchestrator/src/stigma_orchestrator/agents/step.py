"""A step of an agent: what the loop runs between two decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from temporalio.exceptions import FailureError

from stigma.agent.v1.agent_execution_pb2 import (
    AgentExecutionSpec,
    AgentOutput,
    Failure,
    Message,
    Usage,
)
from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.contracts.configuration import Configuration
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import Lineage


class AgentFailedError(Exception):
    """The failure of an agent, with what output there is."""

    def __init__(
        self,
        reason: FailureReason.ValueType,
        message: str,
        *,
        step: str,
        output: AgentOutput | None = None,
    ) -> None:
        super().__init__(message)
        self.failure = Failure(reason=reason, message=message, step=step)
        self.output = output


@dataclass(frozen=True)
class StepContext:
    """The execution that a step belongs to."""

    execution_id: str
    spec: AgentExecutionSpec
    configuration: Configuration
    deadline: datetime
    queues: TaskQueues
    lineage: Lineage = field(default_factory=Lineage)
    """Where the execution is in a tree of agents."""


@dataclass(frozen=True)
class StepResult:
    """The result of a step, whatever its kind."""

    messages: Sequence[Message]
    """Follow in the conversation."""
    questions: Sequence[Message] = ()
    """Follow, if there is a next step: the model is asked to correct its answer."""
    usage: Usage = field(default_factory=Usage)
    output: AgentOutput | None = None
    """The agent's output, when this step completes it."""
    output_error: str = ""
    """Error of an invalid output, when the model has to answer again."""


class Step(Protocol):
    """One activity of an agent, with its options, its retry policy and its failures."""

    async def run(self) -> StepResult:
        """Run the step.

        Raises:
            AgentFailedError: it failed for good.
        """


async def gather(steps: Sequence[Step]) -> list[StepResult]:
    """Run the steps at once; return their results in the same order."""
    # One alone runs in this task: a task of its own would start later in the activation, and
    # another order of commands than in history is nondeterminism.
    if len(steps) == 1:
        return [await steps[0].run()]
    return await asyncio.gather(*(step.run() for step in steps))


def model_call_name(number: int) -> str:
    """Return the name of a model call in failures; `number` counts from 1."""
    return f"model_call {number}"


def raise_if_stopped(error: FailureError | None = None) -> None:
    """Raise CancelledError if it is the agent that was stopped, and not an activity alone."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error
