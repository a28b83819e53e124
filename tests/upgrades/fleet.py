"""A stack whose services are replaced one by one, by those of another tree or of another build."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import EventType

from tests.integration.model_gate import KEY, HeldCall, ModelGate
from tests.reliability.calls import Call, events
from tests.reliability.fault_site import CALLER, Deployment
from tests.stack.plugin import StartStack
from tests.stack.stack import SERVICES, Stack
from tests.stack.waiting import eventually

WITHIN = timedelta(seconds=90)
GRACE_SECONDS = 20
# A model call that is held does not end within any grace: it is cut off, and made again.
MODEL_GRACE_SECONDS = 2

Variables = Mapping[str, str]


class Fleet(Deployment[Stack]):
    """Services, a caller's worker, and a model that answers when the test says so."""

    def __init__(self, stack: Stack, gate: ModelGate, environment: dict[str, Variables]) -> None:
        super().__init__(stack)
        self.gate = gate
        self._environment = environment

    async def ask(self) -> list[Call]:
        """Have a document and a workflow of a caller's own ask; return while both models work."""
        calls = [
            await self.callers.engine(model="gate:held", script=None),
            await self.callers.worker(model="gate:held", script=None, timeout=600.0),
        ]
        for call in calls:
            await self.gate.held(call.message, within=WITHIN)
        return calls

    async def answer(self, call: Call) -> HeldCall:
        """Let the model answer; returns the call of the model that was under way."""
        held = await eventually(
            lambda: next((one for one in self.gate.calls(call.message) if one.waits), None),
            within=WITHIN,
            what=lambda: f"a call of the model for {call.message}",
        )
        held.answer(call.right_answer)
        return held

    async def handshakes(self) -> list[Call]:
        """Short calls by both kinds of callers, to their right answers."""
        calls = [await self.callers.engine(), await self.callers.worker()]
        for call in calls:
            await call.check(WITHIN)
        return calls

    async def add(self, service: str, variables: Variables) -> int:
        """Start one more replica of a service, with these variables; returns its number."""
        before = self._environment.get(service, {})
        self._environment[service] = {**before, **variables}
        try:
            added = await self.stack.replicate(service)
        finally:
            self._environment[service] = before
        return next(n for n in range(10) if self.stack.process(service, n) is added)

    async def retire(self, service: str, number: int) -> None:
        """Stop a replica, in order."""
        assert await self.stack.process(service, number).stop() == 0

    async def write_histories(self, calls: list[Call], directory: Path) -> list[Path]:
        """Write the history of each call's caller and agent."""
        paths = []
        for call in calls:
            agent = self.stack.client.get_workflow_handle((await call.completion()).id)
            for handle in (call.handle, agent):
                history = await handle.fetch_history()
                paths.append(directory / f"{handle.id}.json")
                paths[-1].write_text(history.to_json())
        return paths

    async def no_workflow_task_failed(self, calls: list[Call]) -> None:
        """No code met a history that it did not understand, not even for a while."""
        failed = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
        for call in calls:
            agent = self.stack.client.get_workflow_handle((await call.completion()).id)
            assert await events(call.handle, failed) == []
            assert await events(agent, failed) == []


async def new_fleet(
    new_stack: StartStack,
    gate: ModelGate,
    directory: Path,
    environment: Mapping[str, Variables],
    **options: Any,
) -> Fleet:
    """Start everything with these variables, by service, beside what a fleet needs."""
    providers = directory / "providers.yaml"
    providers.write_text(gate.provider)
    ours: dict[str, Variables] = {
        "*": {"STIGMA_SHUTDOWN_GRACE": str(GRACE_SECONDS)},
        "ai_worker": {
            "STIGMA_SHUTDOWN_GRACE": str(MODEL_GRACE_SECONDS),
            "STIGMA_PROVIDERS_FILE": str(providers),
            "GATE_KEY": KEY,
        },
    }
    together: dict[str, Variables] = {
        name: {**ours.get(name, {}), **environment.get(name, {})}
        for name in {*ours, *environment, *SERVICES, CALLER}
    }
    stack = await new_stack(services=(*SERVICES, CALLER), environment=together, **options)
    together[CALLER] = {**together[CALLER], "STIGMA_API_ADDRESS": stack.api_address}
    stack.process(CALLER).environment["STIGMA_API_ADDRESS"] = stack.api_address
    await stack.restart(CALLER)
    return Fleet(stack, gate, together)
