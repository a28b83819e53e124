"""Activities of foreign callers, and the tokens of all callers' activities."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import grpc.aio
from temporalio import activity
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from stigma.agent.v1.agent_execution_pb2 import AGENT_EXECUTION_PHASE_COMPLETED
from tests.integration.callers import ASK, PARK, Job
from tests.integration.executions import AnyExecutions


class ForeignActivities:
    """Activities written with nothing but generated stubs."""

    def __init__(self, *executions: AnyExecutions) -> None:
        self._executions = {of_kind.kind: of_kind for of_kind in executions}

    @activity.defn(name=ASK)
    async def ask(self, job: Job) -> Any:
        """Start an execution and stay pending."""
        try:
            execution = await self._executions[job.kind].ask(
                job.name,
                job.text,
                callback_token=activity.info().task_token,
                session_id=job.session,
                labels=job.labels,
                request_id=job.request_id,
                config=job.config,
            )
        except grpc.aio.AioRpcError as error:
            raise RuntimeError(f"{error.code().name}: {error.details()}") from None
        # Phases of both kinds have the same numbers.
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
        async with asyncio.timeout(60), self._taken:
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
