"""A workflow that calls an agent. In a module of its own, which the sandbox can import."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from stigma.agent.v1.agent_execution_pb2 import SessionPolicy
from stigma.agent.v1.agent_pb2 import AgentConfig, AgentSpec
from stigma_client import AgentExecutionError, run_agent


@dataclass
class Job:
    """What a caller asks for; sizes instead of texts keep its own input small."""

    message: str = "hello"
    message_bytes: int = 0
    input_bytes: int = 0
    labels_bytes: int = 0
    inline: bool = False
    agent: str = "reviewer"
    odd_input: bool = False
    timeout: float = 60.0
    heartbeat_timeout: float = 30.0
    request_id: str | None = None
    within: float = 0.0
    swallow: bool = False


@workflow.defn
class Caller:
    """Runs one agent and returns what came of it."""

    @workflow.run
    async def run(self, job: Job) -> dict[str, Any]:
        try:
            async with asyncio.timeout(job.within or None):
                result = await self._call(job)
        except AgentExecutionError as error:
            if not job.swallow:
                raise
            return {
                "class": type(error).__name__,
                "reason": error.reason,
                "step": error.step,
                "id": error.execution_id,
            }
        except TimeoutError:
            raise ApplicationError("TimeoutError", non_retryable=True) from None
        return {"id": result.execution_id, "text": result.text, "output": result.output}

    async def _call(self, job: Job) -> Any:
        return await run_agent(
            job.agent,
            job.message or "m" * job.message_bytes,
            input=b"raw" if job.odd_input else {"pad": "x" * job.input_bytes, "job": job},
            spec=AgentSpec(model="scripted:demo") if job.inline else None,
            env={"REPO": "here"},
            config=AgentConfig(model="scripted:demo"),
            session_id="session",
            session_policy=SessionPolicy.SESSION_POLICY_ENQUEUE,
            partial_text=True,
            labels={"pad": "x" * job.labels_bytes},
            timeout=timedelta(seconds=job.timeout),
            heartbeat_timeout=timedelta(seconds=job.heartbeat_timeout),
            request_id=job.request_id,
        )
