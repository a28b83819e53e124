"""A model that writes what a test tells it, when the test tells it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError

from stigma.agent.v1.agent_execution_pb2 import ROLE_MODEL, Message, Part
from stigma.contracts.partial_text import PartialText
from stigma.internal.v1.execution_pb2 import ModelCallRequest, ModelCallResponse

FAIL = "(fail)"
END = "(end)"


class WritingModel:
    """Writes what is told, and tells it in heartbeats, as the AI worker does."""

    def __init__(self) -> None:
        self._orders: dict[str, asyncio.Queue[str]] = {}
        self._attempts: dict[str, asyncio.Queue[int]] = {}

    def write(self, execution: str, text: str) -> None:
        """Let the model of a message write this; or `FAIL`, or `END`."""
        self._of(self._orders, execution).put_nowait(text)

    async def attempt(self, execution: str) -> int:
        """Return the next attempt that has begun."""
        attempts = self._attempts.setdefault(execution, asyncio.Queue())
        async with asyncio.timeout(30):
            return await attempts.get()

    @activity.defn(name="call_model")
    async def call_model(self, request: ModelCallRequest) -> ModelCallResponse:
        attempt = activity.info().attempt
        self._attempts.setdefault(request.message, asyncio.Queue()).put_nowait(attempt)
        partial_text, whole = PartialText(request.step, attempt), ""
        while True:
            order = await self._of(self._orders, request.message).get()
            if order == FAIL:
                delay = timedelta(milliseconds=10)
                raise ApplicationError("away", type="PROVIDER_UNAVAILABLE", next_retry_delay=delay)
            if order == END:
                said = Message(role=ROLE_MODEL, parts=[Part(text=whole)])
                return ModelCallResponse(message=said)
            whole += order
            partial_text.add(order)
            activity.heartbeat(partial_text.details())

    def _of(self, queues: dict[str, asyncio.Queue[str]], name: str) -> asyncio.Queue[str]:
        return queues.setdefault(name, asyncio.Queue())
