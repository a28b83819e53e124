"""The three ways of doing the same job that `benchmarks.handshake` compares.

Every job is one workflow whose single step yields one short text: from an activity of its own
worker, from a child workflow of another worker that calls an activity, or from an agent.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow

from stigma_client import run_agent

AGENT = "benchmark"
PATIENT_AGENT = "benchmark-patient"
ANSWER = "done"

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
class Handshake:
    """A workflow that calls an agent and waits through the callback-token handshake."""

    @workflow.run
    async def run(self, message: str) -> str:
        return (await run_agent(AGENT, message)).text


@workflow.defn
class PatientHandshake:
    """A workflow that waits for an agent that takes its time."""

    @workflow.run
    async def run(self, message: str) -> str:
        return (await run_agent(PATIENT_AGENT, message)).text


Mode = type[BareActivity] | type[ChildWorkflow] | type[Handshake]
MODES: tuple[Mode, ...] = (BareActivity, ChildWorkflow, Handshake)
