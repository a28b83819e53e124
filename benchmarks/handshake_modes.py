"""The ways of doing the same job that `benchmarks.handshake` compares.

Every job is one workflow whose single step yields one short text: from an activity of its own
worker, from a child workflow of another worker that calls an activity, or from an agent.
"""

from __future__ import annotations

from enum import Enum

from temporalio import workflow

from stigma_client import run_agent

AGENT = "benchmark"
PATIENT_AGENT = "benchmark-patient"


class Mode(Enum):
    """One way, by the name that the table shows."""

    BARE_ACTIVITY = "bare activity"
    CHILD_WORKFLOW = "child workflow"
    HANDSHAKE = "handshake"
    """The four services: a document's `call: agent`."""
    PYTHON_CALLER = "Python caller"
    """The handshake from a user's own worker, with the SDK's defaults: `run_agent`."""


# The engine's workflow type is the document's name.
DOCUMENT_NAME = "benchmark-handshake"
DOCUMENT = f"""
document: {{ dsl: '1.0.3', namespace: benchmark, name: {DOCUMENT_NAME}, version: '1.0.0' }}
do:
  - ask:
      call: agent
      with:
        agent: {AGENT}
        message: ${{ . }}
"""


@workflow.defn
class PythonCaller:
    """A workflow that calls an agent and waits through the callback-token handshake."""

    @workflow.run
    async def run(self, message: str) -> str:
        return (await run_agent(AGENT, message)).text


@workflow.defn
class PatientCaller:
    """A workflow that waits for an agent that takes its time."""

    @workflow.run
    async def run(self, message: str) -> str:
        return (await run_agent(PATIENT_AGENT, message)).text
