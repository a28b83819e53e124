"""A model provider whose every answer waits until the test lets it out."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

PROVIDER = "gate"
KEY = "sk-gate-4711-very-secret-provider-key"


@dataclass
class HeldCall:
    """One model call in flight. ``gone`` is set when the worker hung up before an answer."""

    prompt: str
    headers: dict[str, str]
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    _reply: asyncio.Future[bytes] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def waits(self) -> bool:
        """Whether it was neither answered nor given up."""
        return not self._reply.done() and not self.gone.is_set()

    def answer(self, text: str) -> None:
        """Let the model say this."""
        self._reply.set_result(_completion(text))

    def refuse(self, status: int, reason: str) -> None:
        """Let the provider refuse the call with this HTTP status."""
        error = {"error": {"message": reason, "type": reason, "code": reason}}
        self._reply.set_result(_response(f"{status} {reason}", error))

    async def reply(self) -> bytes:
        """Wait for the answer, as the HTTP response."""
        return await self._reply


class ModelGate:
    """Speaks /v1/chat/completions on a free port of this machine."""

    def __init__(self) -> None:
        self._calls: list[HeldCall] = []
        self._arrived = asyncio.Condition()
        self._server: asyncio.Server | None = None

    @property
    def provider(self) -> str:
        """The provider resource for the AI worker, as YAML."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return (
            "apiVersion: stigma/v1\n"
            "kind: Provider\n"
            f"metadata: {{name: {PROVIDER}}}\n"
            "spec:\n"
            "  type: openai-compatible\n"
            f"  base_url: http://127.0.0.1:{port}/v1\n"
            "  api_key: {env: GATE_KEY}\n"
        )

    def calls(self, prompt: str) -> list[HeldCall]:
        """The calls whose conversation has this text, in order of arrival."""
        return [call for call in self._calls if prompt in call.prompt]

    async def held(
        self, prompt: str, *, nth: int = 1, within: timedelta = timedelta(seconds=60)
    ) -> HeldCall:
        """Return the nth such call as soon as it is in flight."""
        async with asyncio.timeout(within.total_seconds()), self._arrived:
            await self._arrived.wait_for(lambda: len(self.calls(prompt)) >= nth)
        return self.calls(prompt)[nth - 1]

    async def hung_up(self, call: HeldCall) -> None:
        """Return once the worker has given this call up, which nothing else would end.

        How soon it does, the AI worker's own tests show.
        """
        async with asyncio.timeout(60):
            await call.gone.wait()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for call in self._calls:
            if call.waits:
                call.answer("the gate is closing")
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                call = await _read(reader)
                async with self._arrived:
                    self._calls.append(call)
                    self._arrived.notify_all()
                if (reply := await _unless_closed(call, reader)) is None:
                    call.gone.set()
                    break
                writer.write(reply)
                await writer.drain()
        writer.close()


async def _read(reader: asyncio.StreamReader) -> HeldCall:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head[1:] if line)
    }
    body = json.loads(await reader.readexactly(int(headers["content-length"])))
    return HeldCall(json.dumps(body["messages"]), headers)


async def _unless_closed(call: HeldCall, reader: asyncio.StreamReader) -> bytes | None:
    """The reply, or None when the client hangs up first: it sends nothing else meanwhile."""
    reply = asyncio.ensure_future(call.reply())
    closed = asyncio.ensure_future(reader.read(1))
    done, pending = await asyncio.wait({reply, closed}, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return reply.result() if reply in done else None


def _completion(text: str) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    return _response(
        "200 OK",
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1750000000,
            "model": "held",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        },
    )


def _response(status: str, content: Mapping[str, Any]) -> bytes:
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body
