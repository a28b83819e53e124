"""Callers of agents, apart from the engine: ours in Python, and a foreign one.

The foreign one is what any SDK has: an activity that sends its token to the API by generated
stubs and returns pending. It installs nothing of ours, and declares nothing about itself.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

with workflow.unsafe.imports_passed_through():
    import grpc.aio

    from stigma.agent.v1.agent_execution_pb2 import (
        AGENT_EXECUTION_PHASE_COMPLETED,
        AgentExecution,
    )
    from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
    from stigma.agent.v1.agent_pb2 import AgentConfig
    from stigma_client import run_agent

PARK = "park"
ASK_AGENT = "ask_agent"


@dataclass
class Job:
    """What a caller asks for. Times are seconds; a foreign caller's 0 means: not set."""

    agent: str
    message: str
    request_id: str = ""
    session: str = ""
    repeat: int = 1
    """The message is said so often: a large one need not travel in the caller's own input."""
    timeout: float = 60.0
    heartbeat_timeout: float = 0.0
    agent_timeout: float = 0.0
    attempts: int = 0
    waits_for_cancellation: bool = False
    calls: int = 1
    """So many agents in parallel, each with a message of its own."""

    @property
    def text(self) -> str:
        """The whole message."""
        return self.message * self.repeat

    @property
    def config(self) -> AgentConfig | None:
        """What is changed in the agent."""
        if not self.agent_timeout:
            return None
        config = AgentConfig()
        config.timeout.FromTimedelta(timedelta(seconds=self.agent_timeout))
        return config


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
    """Calls an agent as our documents say. Returns its text."""

    @workflow.run
    async def run(self, job: Job) -> str:
        return await self.answer(job, self._ask(job))

    async def _ask(self, job: Job) -> str:
        result = await run_agent(
            job.agent,
            job.text,
            config=job.config,
            session_id=job.session,
            timeout=timedelta(seconds=job.timeout),
            heartbeat_timeout=timedelta(seconds=job.heartbeat_timeout or 300),
            request_id=job.request_id or None,
        )
        return result.text


async def wrong_answers(job: Job, ask: Callable[[str], Awaitable[str]]) -> list[str]:
    """Ask for many messages at once; the answers that are not what was asked for."""
    asked = [f"{job.message}-{number}" for number in range(job.calls)]
    answers = await asyncio.gather(*map(ask, asked))
    return [answer for message, answer in zip(asked, answers, strict=True) if answer != message]


@workflow.defn
class PythonCrowd:
    """Calls many agents at once. Returns the texts that are not what was asked for."""

    @workflow.run
    async def run(self, job: Job) -> list[str]:
        async def ask(message: str) -> str:
            return (await run_agent(job.agent, message, session_id=job.session)).text

        return await wrong_answers(job, ask)


@workflow.defn
class ForeignCaller:
    """Runs one activity, as any SDK's workflow would. Returns the agent's text."""

    @workflow.run
    async def run(self, job: Job) -> str:
        waits = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        tries = workflow.ActivityCancellationType.TRY_CANCEL
        execution: AgentExecution = await workflow.execute_activity(
            ASK_AGENT,
            job,
            result_type=AgentExecution,
            schedule_to_close_timeout=timedelta(seconds=job.timeout),
            heartbeat_timeout=(
                timedelta(seconds=job.heartbeat_timeout) if job.heartbeat_timeout else None
            ),
            retry_policy=RetryPolicy(maximum_attempts=job.attempts),
            cancellation_type=waits if job.waits_for_cancellation else tries,
        )
        return execution.status.output.text


@workflow.defn
class Parked:
    """An activity whose token a test takes and uses as it likes."""

    @workflow.run
    async def run(self) -> Any:
        return await workflow.execute_activity(
            PARK, schedule_to_close_timeout=timedelta(minutes=5), retry_policy=_ONCE
        )


_ONCE = RetryPolicy(maximum_attempts=1)


class ForeignActivities:
    """Activities written with nothing but generated stubs."""

    def __init__(self, executions: Any) -> None:
        self._executions = executions

    @activity.defn(name=ASK_AGENT)
    async def ask_agent(self, job: Job) -> AgentExecution:
        """Start the agent and stay pending."""
        request = StartAgentRequest(
            agent_id=job.agent,
            message=job.text,
            callback_token=activity.info().task_token,
            session_id=job.session,
            request_id=job.request_id,
            config=job.config,
        )
        try:
            execution: AgentExecution = await self._executions.StartAgent(request, timeout=15)
        except grpc.aio.AioRpcError as error:
            raise RuntimeError(f"{error.code().name}: {error.details()}") from None
        if execution.status.phase != AGENT_EXECUTION_PHASE_COMPLETED:
            activity.raise_complete_async()
        return execution

    @activity.defn(name=PARK)
    async def park(self) -> None:
        """Stay pending; nobody is told."""
        activity.raise_complete_async()


class TakenTokens(Interceptor):
    """Notes the token of every attempt that this worker takes, by workflow id."""

    def __init__(self) -> None:
        self._tokens: defaultdict[str, list[bytes]] = defaultdict(list)
        self._taken = asyncio.Condition()

    def all(self) -> list[bytes]:
        """Every token so far."""
        return [token for tokens in self._tokens.values() for token in tokens]

    async def of(self, workflow_id: str) -> bytes:
        """Return the workflow's newest token, once there is one."""
        async with asyncio.timeout(20), self._taken:
            await self._taken.wait_for(lambda: self._tokens[workflow_id])
        return self._tokens[workflow_id][-1]

    async def note(self, info: activity.Info) -> None:
        """Remember an attempt's token."""
        async with self._taken:
            self._tokens[info.workflow_id or ""].append(info.task_token)
            self._taken.notify_all()

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _Noting(next, self)


class _Noting(ActivityInboundInterceptor):
    def __init__(self, following: ActivityInboundInterceptor, tokens: TakenTokens) -> None:
        super().__init__(following)
        self._tokens = tokens

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        await self._tokens.note(activity.info())
        return await super().execute_activity(input)
