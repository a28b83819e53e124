"""Callers of executions, apart from the engine: ours in Python, and a foreign one.

The foreign one is what any SDK has: an activity that sends its token to the API by generated
stubs and returns pending. It installs nothing of ours, and declares nothing about itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from stigma.agent.v1.agent_execution_pb2 import AgentExecution
    from stigma.agent.v1.agent_pb2 import AgentConfig
    from stigma.contracts.executions import Execution, Kind
    from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
    from stigma.workflow.v1.workflow_pb2 import WorkflowConfig
    from stigma_client import run_agent, run_workflow

ASK = "ask"
PARK = "park"


@dataclass
class Job:
    """What a caller asks for. Times are seconds; a foreign caller's 0 means: not set."""

    name: str
    """Of the agent, or of the workflow."""
    message: str
    """A workflow's is its input, as `said`."""
    request_id: str = ""
    session: str = ""
    group: str = ""
    """By it a test finds its executions: a label."""
    repeat: int = 1
    """The message is said so often: a large one need not travel in the caller's own input."""
    timeout: float = 60.0
    heartbeat_timeout: float = 0.0
    agent_timeout: float = 0.0
    """Of the execution, of either kind."""
    attempts: int = 0
    waits_for_cancellation: bool = False
    calls: int = 1
    """So many executions in parallel, each with a message of its own."""
    kind: Kind = Kind.AGENT

    @property
    def text(self) -> str:
        """The whole message."""
        return self.message * self.repeat

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the executions."""
        return {"group": self.group} if self.group else {}

    @property
    def config(self) -> AgentConfig | WorkflowConfig | None:
        """What is changed in the agent or workflow."""
        if not self.agent_timeout:
            return None
        config = AgentConfig() if self.kind is Kind.AGENT else WorkflowConfig()
        config.timeout.FromTimedelta(timedelta(seconds=self.agent_timeout))
        return config

    async def run(self, message: str, **options: Any) -> str:
        """Run an execution as our documents say; return its answer."""
        if self.kind is Kind.AGENT:
            return (
                await run_agent(
                    self.name, message, session_id=self.session, labels=self.labels, **options
                )
            ).text
        said = {"said": message}
        ran = await run_workflow(
            self.name, input=said, session_id=self.session, labels=self.labels, **options
        )
        return str(ran.output["said"])


def answer_of(execution: Execution) -> str:
    """Return an agent's text, or what a workflow said, which is all of its output."""
    if isinstance(execution, AgentExecution):
        return execution.status.output.text
    output = execution.status.output.json
    said = str(json.loads(output)["said"])
    assert output == json.dumps({"said": said}, separators=(",", ":"))
    return said


class Movable:
    """What a test does to a caller while its call is pending."""

    def __init__(self) -> None:
        self._carry_on = False

    @workflow.signal
    def poke(self) -> None:
        """Have one more workflow task, which a reset can go back to."""

    @workflow.signal
    def carry_on(self) -> None:
        """Continue as new, the call still pending."""
        self._carry_on = True

    async def answer(self, job: Job, call: Coroutine[Any, Any, str]) -> str:
        """Return what the call comes to, unless the next run is to make it again."""
        asking = asyncio.create_task(call)
        try:
            await workflow.wait_condition(lambda: asking.done() or self._carry_on)
        except asyncio.CancelledError:
            asking.cancel()
        if not asking.done() and self._carry_on:
            workflow.continue_as_new(job)
        return await asking


@workflow.defn
class PythonCaller(Movable):
    """Calls as our documents say. Returns the answer."""

    @workflow.run
    async def run(self, job: Job) -> str:
        call = job.run(
            job.text,
            config=job.config,
            timeout=timedelta(seconds=job.timeout),
            heartbeat_timeout=timedelta(seconds=job.heartbeat_timeout or 300),
            request_id=job.request_id or None,
        )
        return await self.answer(job, call)


@workflow.defn
class PythonCrowd:
    """Makes many calls at once. Returns the answers that are not what was asked for."""

    @workflow.run
    async def run(self, job: Job) -> list[str]:
        asked = [f"{job.message}-{number}" for number in range(job.calls)]
        answers = await asyncio.gather(*map(job.run, asked))
        return [answer for message, answer in zip(asked, answers, strict=True) if answer != message]


@workflow.defn
class ForeignCaller:
    """Runs one activity, as any SDK's workflow would. Returns the answer."""

    @workflow.run
    async def run(self, job: Job) -> str:
        waits = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        tries = workflow.ActivityCancellationType.TRY_CANCEL
        heartbeat = timedelta(seconds=job.heartbeat_timeout) if job.heartbeat_timeout else None
        execution: Execution = await workflow.execute_activity(
            ASK,
            job,
            result_type=AgentExecution if job.kind is Kind.AGENT else WorkflowExecution,
            schedule_to_close_timeout=timedelta(seconds=job.timeout),
            heartbeat_timeout=heartbeat,
            retry_policy=RetryPolicy(maximum_attempts=job.attempts),
            cancellation_type=waits if job.waits_for_cancellation else tries,
        )
        return answer_of(execution)


@workflow.defn
class Parked:
    """An activity whose token a test takes and uses as it likes."""

    @workflow.run
    async def run(self) -> Any:
        return await workflow.execute_activity(
            PARK, schedule_to_close_timeout=timedelta(minutes=5), retry_policy=_ONCE
        )


_ONCE = RetryPolicy(maximum_attempts=1)
