"""A stack with a caller's worker, and proxies that do harm where services meet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Generic, TypeVar

from stigma.agent.v1.agent_execution_pb2 import (
    CALLBACK_STATE_WAITING,
    AgentExecution,
    AgentExecutionStatus,
)
from stigma.agent.v1.agent_execution_service_pb2 import GetAgentExecutionRequest
from stigma.contracts.phases import has_ended
from tests.reliability.calls import Callers, executions_on
from tests.stack.faults import FaultProxy
from tests.stack.plugin import StartStack
from tests.stack.stack import SERVICES, Stack
from tests.stack.waiting import eventually

CALLER = "tests.reliability.caller_service"
INJECTED = str(Path(__file__).with_name("injected"))
ENGINE_HEARTBEAT_SECONDS = 4.0


S = TypeVar("S", bound=Stack)


class Deployment(Generic[S]):
    """A stack and its callers, and what became of their calls."""

    def __init__(self, stack: S) -> None:
        self.stack = stack
        self.callers = Callers(stack)

    async def execution(self, execution_id: str) -> AgentExecution:
        """The execution as the API tells it."""
        request = GetAgentExecutionRequest(id=execution_id)
        return await self.stack.executions.GetAgentExecution(request, wait_for_ready=True)

    async def outcome(self, execution_id: str) -> AgentExecutionStatus:
        """The execution's status, once it has ended and nobody waits any more."""

        async def ended() -> AgentExecutionStatus | None:
            execution = await self.execution(execution_id)
            if execution.status.callback.state == CALLBACK_STATE_WAITING:
                return None
            return execution.status if has_ended(execution) else None

        return await eventually(ended, what=f"the end of {execution_id}")

    async def check_executions(self) -> None:
        """Every call led to one execution, as Temporal's visibility has it a moment later."""
        calls, found = self.callers.started, 0

        async def enough() -> bool:
            nonlocal found
            found = len(await executions_on(self.stack))
            return found >= calls

        await eventually(enough, what=lambda: f"{calls} calls, but {found} executions")
        assert found == calls, f"{calls} calls led to {found} executions"


class FaultSite(Deployment[Stack]):
    """One stack; `api` stands before the API, the others between a service and Temporal."""

    def __init__(
        self,
        stack: Stack,
        api: FaultProxy,
        temporal_of_api: FaultProxy,
        temporal_of_orchestrator: FaultProxy,
    ) -> None:
        super().__init__(stack)
        self.api = api
        self.temporal_of_api = temporal_of_api
        self.temporal_of_orchestrator = temporal_of_orchestrator

    @property
    def proxies(self) -> tuple[FaultProxy, ...]:
        """All of them."""
        return (self.api, self.temporal_of_api, self.temporal_of_orchestrator)

    async def restart(self, *services: str) -> None:
        """Start again what was killed, once nothing is harmed any more."""
        self.heal()
        await self.stack.start(*services)

    def heal(self) -> None:
        """End all faults."""
        for proxy in self.proxies:
            proxy.clear()


@asynccontextmanager
async def open_site(
    new_stack: StartStack,
    temporal_address: str,
    *,
    proxies_ip: str = "127.0.0.1",
    environment: Mapping[str, Mapping[str, str]] | None = None,
) -> AsyncIterator[FaultSite]:
    """Start everything; `environment` adds variables to services.

    `temporal_address` is as this process sees it; services find the proxies at `proxies_ip`.
    """
    api, of_api, of_orchestrator = (FaultProxy(temporal_address, ip=proxies_ip) for _ in range(3))
    more = environment or {}
    async with of_api, of_orchestrator:
        calls_api = {"STIGMA_API_ADDRESS": api.address}
        own: dict[str, Mapping[str, str]] = {
            "stigma_api": {"TEMPORAL_ADDRESS": of_api.address},
            "stigma_orchestrator": {"TEMPORAL_ADDRESS": of_orchestrator.address},
            "zigflow_worker": calls_api | engine_heartbeat(),
            CALLER: calls_api,
        }
        stack = await new_stack(
            temporal_address,
            services=(*SERVICES, CALLER),
            environment={
                name: {**own.get(name, {}), **more.get(name, {})} for name in {*own, *more}
            },
        )
        api.target = stack.api_address
        async with api:
            yield FaultSite(stack, api, of_api, of_orchestrator)
            await stack.stop()


def engine_heartbeat(seconds: float = ENGINE_HEARTBEAT_SECONDS) -> dict[str, str]:
    """Variables that scale down the heartbeat timeout of the engine's calls."""
    return {"PYTHONPATH": INJECTED, "RELIABILITY_HEARTBEAT_SECONDS": f"{seconds:g}"}
