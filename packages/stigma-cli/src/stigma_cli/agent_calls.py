"""Tool calls of the agents that a run has called, beside its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from temporalio.client import WorkflowHandle
from temporalio.service import RPCError

from stigma.agent.v1.agent_execution_service_pb2 import WatchAgentExecutionResponse
from stigma.contracts.executions import Kind
from stigma.contracts.partial_text import ReceivedText
from stigma_cli.connections import Api, open_api
from stigma_cli.conversation_text import usage_text
from stigma_cli.errors import CliError
from stigma_cli.execution_calls import Event, events, list_executions
from stigma_cli.execution_text import definition_id, describe
from stigma_cli.input_text import people_text
from stigma_cli.output import print_line, print_note
from stigma_cli.task_lines import TaskLine
from stigma_cli.terminal_text import escape_line

# Id of the activity that waits for an agent: this, and the request id.
_WAITING = f"{Kind.AGENT}-"
_POLL_SECONDS = 1.0
# Executions looked through for those of a run: open ones first, then the last closed.
_MAX_LISTED = 200
# Executions followed at a time.
_MAX_FOLLOWED = 20
# Longest wait for the last events once the run has ended.
_FINISH_SECONDS = 3.0


class AgentCalls:
    """Prints the tool calls of agents as they happen, and what an agent with calls has used.

    Temporal says which agents a run waits for, and the API what they do. Where that cannot be
    reached, a note says so once.

    Args:
        address: of the API; None: from the environment.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._api: Api | None = None
        self._stack = AsyncExitStack()
        self._connecting = asyncio.Lock()
        self._slots = asyncio.Semaphore(_MAX_FOLLOWED)
        self._looking: asyncio.Task[None] | None = None
        self._following: dict[str, asyncio.Task[None]] = {}
        self._requests: dict[str, str] = {}
        self._handle: WorkflowHandle[Any, Any] | None = None
        self._is_lost = False
        self._writing: dict[str, tuple[str, ReceivedText]] = {}
        self.write: Callable[[str], None] = print_line
        """Prints a line."""

    def look_after(self, handle: WorkflowHandle[Any, Any]) -> None:
        """Follow the agents that a run waits for, from now on."""
        if self._looking is None:
            self._handle = handle
            self._looking = asyncio.create_task(self._look(handle))

    def see(self, lines: Sequence[TaskLine]) -> None:
        """Follow the executions of tasks that have ended; some ended too soon to be waited for."""
        for line in lines:
            if Kind.of_id(line.execution_id) is Kind.AGENT:
                self._follow(line.execution_id)

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield the agents whose models are writing, and the newest of what those have written."""
        for name, received in self._writing.values():
            yield name, received.text

    async def finish(self) -> None:
        """Wait for what executions that have ended still have to tell, once the run has ended."""
        await self._wait_for(self._following)

    async def catch_up(self) -> None:
        """Wait for what executions still have to tell that the run does not wait for any more."""
        if self._handle is None or not self._following:
            return
        try:
            waiting = await _requests(self._handle)
        except RPCError:
            return
        await self._wait_for(
            each for each in self._following if self._requests.get(each) not in waiting
        )

    async def _wait_for(self, executions: Iterable[str]) -> None:
        if following := [self._following[each] for each in executions]:
            await asyncio.wait(following, timeout=_FINISH_SECONDS)

    async def close(self) -> None:
        """Follow no more."""
        tasks = [*self._following.values(), *([self._looking] if self._looking else [])]
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stack.aclose()

    async def _look(self, handle: WorkflowHandle[Any, Any]) -> None:
        found: set[str] = set()
        while True:
            with suppress(RPCError):
                waiting = await _requests(handle)
                if waiting - found:
                    found |= await self._find(waiting - found)
            await asyncio.sleep(_POLL_SECONDS)

    async def _find(self, requests: set[str]) -> set[str]:
        """Follow the executions of these requests, and return those that were found."""
        try:
            api = await self._connected()
            executions, _ = await list_executions(api, Kind.AGENT, "", _MAX_LISTED)
        except CliError as error:
            self._note(error)
            return requests
        ours = [each for each in executions if each.spec.request_id in requests]
        for each in ours:
            self._requests[each.id] = each.spec.request_id
            self._follow(each.id)
        return {each.spec.request_id for each in ours}

    def _follow(self, execution_id: str) -> None:
        if execution_id not in self._following:
            self._following[execution_id] = asyncio.create_task(self._print(execution_id))

    async def _print(self, execution_id: str) -> None:
        name = "inline agent"
        try:
            async with self._slots:
                async for event in events(await self._connected(), execution_id):
                    if isinstance(event, WatchAgentExecutionResponse) and event.HasField(
                        "progress"
                    ):
                        writing = self._writing.setdefault(execution_id, (name, ReceivedText()))
                        writing[1].add(event.progress)
                        continue
                    self._writing.pop(execution_id, None)
                    if event.HasField("started"):
                        name = definition_id(event.started.execution).partition("@")[0] or name
                    elif text := _text(event):
                        self.write(f"  {escape_line(f'{name}: {text}')}")
        except CliError as error:
            self._note(error)
        finally:
            self._writing.pop(execution_id, None)

    async def _connected(self) -> Api:
        async with self._connecting:
            if self._api is None:
                self._api = await self._stack.enter_async_context(open_api(self._address))
            return self._api

    def _note(self, error: CliError) -> None:
        if not self._is_lost:
            self._is_lost = True
            print_note(f"calls of tools are not shown: {error.message}")


@asynccontextmanager
async def agent_calls(
    handle: WorkflowHandle[Any, Any], address: str | None = None
) -> AsyncIterator[AgentCalls]:
    """Print tool calls of a run's agents as long as the body runs."""
    calls = AgentCalls(address)
    calls.look_after(handle)
    try:
        yield calls
    finally:
        await calls.close()


async def _requests(handle: WorkflowHandle[Any, Any]) -> set[str]:
    """Return the ids of the requests that a run waits for."""
    pending = (await handle.describe()).raw_description.pending_activities
    ids = (each.activity_id for each in pending)
    return {each.removeprefix(_WAITING) for each in ids if each.startswith(_WAITING)}


def _text(event: Event) -> str:
    """Return a line for an event about calls, steps or people, or an end with usage; else ""."""
    if not isinstance(event, WatchAgentExecutionResponse):
        return ""
    if event.WhichOneof("event") in {"tool_call_started", "tool_call_ended", "reported"}:
        return describe(event)
    if text := people_text(event):
        return text
    usage = event.ended.execution.status.usage
    return usage_text(usage) if usage.tool_calls else ""
