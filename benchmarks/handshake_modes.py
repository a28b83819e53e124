"""The ways of doing the same job that `benchmarks.handshake` compares.

Every job is one workflow whose single step yields one short text: from an activity of its own
worker, from a child workflow of another worker that calls an activity, or from an agent.
"""

from __future__ import annotations

from temporalio import workflow

from benchmarks.handshake_native import BareActivity, ChildWorkflow
from stigma_client import run_agent

AGENT = "benchmark"
PATIENT_AGENT = "benchmark-patient"


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
