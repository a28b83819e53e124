"""Tool calls of the agents that a run has called, beside its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from stigma.agent.v1.agent_execution_service_pb2 import WatchAgentExecutionResponse
from stigma_cli.connections import Api, open_api
from stigma_cli.conversation_text import usage_text
from stigma_cli.errors import CliError
from stigma_cli.execution_calls import Event, events
from stigma_cli.execution_text import describe
from stigma_cli.output import print_line, print_note
from stigma_cli.task_lines import TaskLine
from stigma_cli.terminal_text import escape_line

# Executions followed at a time.
_MAX_FOLLOWED = 20
# Longest wait for the last events once the run has ended.
_FINISH_SECONDS = 3.0


class AgentCalls:
    """Prints the tool calls of agents as they happen, and what an agent with calls has used.

    The API has them. Where it cannot be reached, a note says so once.

    Args:
        address: of the API; None: from the environment.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._api: Api | None = None
        self._stack = AsyncExitStack()
        self._connecting = asyncio.Lock()
        self._slots = asyncio.Semaphore(_MAX_FOLLOWED)
        self._following: dict[str, asyncio.Task[None]] = {}
        self._is_lost = False
        self.write: Callable[[str], None] = print_line
        """Prints a line."""

    def see(self, lines: Sequence[TaskLine]) -> None:
        """Follow the executions that tasks have called and that are not followed yet."""
        for line in lines:
            if line.execution_id and line.execution_id not in self._following:
                following = asyncio.create_task(self._follow(line))
                self._following[line.execution_id] = following

    async def finish(self) -> None:
        """Wait for what executions that have ended still have to tell."""
        if self._following:
            await asyncio.wait(self._following.values(), timeout=_FINISH_SECONDS)

    async def close(self) -> None:
        """Follow no more."""
        for each in self._following.values():
            each.cancel()
        await asyncio.gather(*self._following.values(), return_exceptions=True)
        await self._stack.aclose()

    async def _follow(self, line: TaskLine) -> None:
        head = f"{'  ' * (line.depth + 1)}{line.label.strip()}"
        try:
            async with self._slots:
                async for event in events(await self._connected(), line.execution_id):
                    if text := _text(event):
                        self.write(f"{head}: {escape_line(text)}")
        except CliError as error:
            if not self._is_lost:
                self._is_lost = True
                print_note(f"calls of tools are not shown: {error.message}")

    async def _connected(self) -> Api:
        async with self._connecting:
            if self._api is None:
                self._api = await self._stack.enter_async_context(open_api(self._address))
            return self._api


@asynccontextmanager
async def agent_calls(address: str | None = None) -> AsyncIterator[AgentCalls]:
    """Print tool calls of agents as long as the body runs."""
    calls = AgentCalls(address)
    try:
        yield calls
    finally:
        await calls.close()


def _text(event: Event) -> str:
    """Return a line for an event about tool calls, or an end with their usage; else ""."""
    if not isinstance(event, WatchAgentExecutionResponse):
        return ""
    if event.HasField("tool_call_started") or event.HasField("tool_call_ended"):
        return describe(event)
    usage = event.ended.execution.status.usage
    return usage_text(usage) if usage.tool_calls else ""
