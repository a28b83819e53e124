"""What stands between a caller and the API and does not pass bytes on as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from tests.stack.faults import FaultProxy


class DamagingProxy(FaultProxy):
    """Forwards everything, and while ``damaging`` takes callback tokens for text, as some do."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.damaging = False

    async def _forward(
        self,
        path: str,
        requests: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext[bytes, bytes],
    ) -> None:
        if self.damaging and path.endswith("/StartAgent"):
            requests = _as_text(requests)
        await super()._forward(path, requests, context)


async def _as_text(requests: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        start = StartAgentRequest.FromString(request)
        text = start.callback_token.decode("utf-8", errors="replace")
        start.callback_token = text.replace("\n", "\r\n").encode()
        yield start.SerializeToString()
