"""What `benchmarks.handshake` compares with: plain Temporal, as the SDK's documents show it.

Imports nothing but the SDK: its sandbox imports a workflow's module anew for every workflow, and
the comparison must not pay for ours.
"""

from __future__ import annotations

import json
from datetime import timedelta

from temporalio import activity, workflow

ANSWER = "done"
# The engine's workflow type is the document's name.
WRAPPED_DOCUMENT = "benchmark-execution"

_TIMEOUT = timedelta(minutes=10)


@activity.defn
async def answer(message: str) -> str:
    """What the agent's scripted model does, as a plain activity."""
    return f"{ANSWER} {message}"


@workflow.defn
class BareActivity:
    """A workflow with one activity: the least that any durable call costs."""

    @workflow.run
    async def run(self, message: str) -> str:
        return await workflow.execute_activity(answer, message, start_to_close_timeout=_TIMEOUT)


@workflow.defn
class Child:
    """The child workflow, as the SDK's documents show one."""

    @workflow.run
    async def run(self, message: str) -> str:
        return await workflow.execute_activity(answer, message, start_to_close_timeout=_TIMEOUT)


@workflow.defn
class ChildWorkflow:
    """A workflow that calls a child workflow of another worker."""

    @workflow.run
    async def run(self, message: str) -> str:
        return await workflow.execute_child_workflow(
            Child.run,
            message,
            id=f"{workflow.info().workflow_id}-child",
            task_queue=f"{workflow.info().task_queue}-child",
        )


@workflow.defn
class WrappedDocument:
    """A workflow that has the engine run a document as its child."""

    @workflow.run
    async def run(self, start_json: str, task_queue: str) -> str:
        answer: str = await workflow.execute_child_workflow(
            WRAPPED_DOCUMENT,
            json.loads(start_json),
            id=f"{workflow.info().workflow_id}-run",
            task_queue=task_queue,
            result_type=str,
        )
        return answer
