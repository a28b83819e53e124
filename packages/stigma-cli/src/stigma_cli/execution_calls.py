"""Calls on executions of either kind: the id names the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from stigma.agent.v1.agent_execution_service_pb2 import (
    AGENT_EXECUTION_VIEW_BASIC,
    AGENT_EXECUTION_VIEW_FULL,
    CancelAgentExecutionRequest,
    GetAgentExecutionRequest,
    ListAgentExecutionsRequest,
    ListAgentExecutionsResponse,
    WatchAgentExecutionRequest,
    WatchAgentExecutionResponse,
)
from stigma.contracts.executions import Execution, Kind
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    WORKFLOW_EXECUTION_VIEW_BASIC,
    WORKFLOW_EXECUTION_VIEW_FULL,
    CancelWorkflowExecutionRequest,
    GetWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
    WatchWorkflowExecutionRequest,
    WatchWorkflowExecutionResponse,
)
from stigma_cli import connections
from stigma_cli.connections import Api
from stigma_cli.errors import CliError, Exit
from stigma_cli.output import print_note
from stigma_cli.server_errors import from_grpc, no_answer
from stigma_cli.slow_answers import noted_if_slow

Event: TypeAlias = WatchAgentExecutionResponse | WatchWorkflowExecutionResponse
_Page: TypeAlias = ListAgentExecutionsResponse | ListWorkflowExecutionsResponse

MAX_PAGE_SIZE = 1000
"""Most executions on a page of a list."""

# Time in which a broken stream is resumed. One that lasted so long begins another: the API ends
# each after an hour.
_RESUME_WITHIN_SECONDS = 60.0
_RESUME_WAIT_SECONDS = 1.0
# Failures in a row from which they are told: most are gone at the next try.
_FAILURES_TOLD = 2
_BROKEN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,  # the API had to stop before the stream's end
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,  # far behind those who watch the same
)


@dataclass(frozen=True)
class _Calls:
    """The calls to the service of one kind."""

    get: Callable[[Api, str, bool, bool], Awaitable[Execution]]
    list_page: Callable[[Api, str, int, str], Awaitable[_Page]]
    cancel: Callable[[Api, str, str], Awaitable[Execution]]
    watch: Callable[[Api, str, str], AsyncIterable[Event]]


async def get_execution(
    api: Api, execution_id: str, *, full: bool = False, pending_steps: bool = False
) -> Execution:
    """Return one execution.

    Args:
        api: where it is.
        execution_id: which.
        full: with what may be long: conversation, input and document.
        pending_steps: with what it waits for, if it is open.
    """
    return await _calls(execution_id).get(api, execution_id, full, pending_steps)


async def list_executions(
    api: Api, kind: Kind, query: str, limit: int
) -> tuple[Sequence[Execution], bool]:
    """Return up to so many executions of a kind, and whether there are more.

    One that closes while pages are read may be on two of them: it is returned once, as open.
    """
    found: dict[str, Execution] = {}
    token = ""
    while True:
        # A page ends early where its executions are large.
        size = min(limit - len(found), MAX_PAGE_SIZE)
        page = await _CALLS[kind].list_page(api, query, size, token)
        for each in page.executions:
            found.setdefault(each.id, each)
        token = page.next_page_token
        if not token or len(found) >= limit:
            return list(found.values()), bool(token)


async def cancel_execution(api: Api, execution_id: str, reason: str) -> Execution:
    """Ask an execution to stop; return it as it is."""
    return await _calls(execution_id).cancel(api, execution_id, reason)


async def ended_execution(api: Api, execution_id: str) -> Execution:
    """Wait for the end of an execution; return it.

    Raises:
        CliError: as `events`.
    """
    last = [event async for event in events(api, execution_id)][-1]
    return last.ended.execution


async def events(
    api: Api, execution_id: str, cursor: str = "", *, is_known: bool = True
) -> AsyncIterator[Event]:
    """Yield the events of an execution until its end, over broken connections too.

    Args:
        api: where it runs.
        execution_id: which.
        cursor: go on after this event.
        is_known: False: nothing was heard of it yet; a failure before its first event is final.

    Raises:
        CliError: it cannot be watched, or the API is lost for _RESUME_WITHIN_SECONDS.
    """
    outage = _Outage(asyncio.get_running_loop().time)
    while True:
        outage.open()
        try:
            stream = _calls(execution_id).watch(api, execution_id, cursor)
            timeout = None if is_known else connections.CALL_TIMEOUT_SECONDS
            async for event in _begun(api, stream, timeout):
                is_known = True
                outage.end()
                cursor = event.cursor
                yield event
                if event.HasField("ended"):
                    return
        except grpc.aio.AioRpcError as error:
            failure = from_grpc(error, api.address)
            if error.code() not in _BROKEN or not is_known:
                raise failure from None
        else:
            failure = CliError("the API ends the stream too early", code=Exit.UNREACHABLE)
        outage.note(failure)
        await asyncio.sleep(_RESUME_WAIT_SECONDS)


class _Outage:
    """Failures of a stream in a row, without an event between them.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._opened = self._since = self._clock()
        self._failures = 0

    def open(self) -> None:
        """Note that the stream is opened."""
        self._opened = self._clock()

    def end(self) -> None:
        """Note an event."""
        self._failures = 0

    def note(self, failure: CliError) -> None:
        """Note a failure, and print the second one in a row.

        Raises:
            CliError: the failure; they have lasted too long.
        """
        now = self._clock()
        if self._failures == 0 or now - self._opened >= _RESUME_WITHIN_SECONDS:
            self._failures, self._since = 0, now
        self._failures += 1
        if now - self._since >= _RESUME_WITHIN_SECONDS:
            raise failure
        if self._failures == _FAILURES_TOLD:
            print_note(f"{failure.message}: trying again for {_RESUME_WITHIN_SECONDS:g} s")


async def _begun(
    api: Api, stream: AsyncIterable[Event], timeout: float | None
) -> AsyncIterator[Event]:
    """Yield the events of a stream; note where not even a connection is there for its first.

    Raises:
        CliError: after `timeout` seconds, too, there is no connection.
    """
    waiting = aiter(stream)
    with noted_if_slow(api.server, lambda: not api.is_connected):
        first = await _first(api, waiting, timeout)
    if first is None:
        return
    yield first
    async for event in waiting:
        yield event


async def _first(api: Api, stream: AsyncIterator[Event], timeout: float | None) -> Event | None:
    async def read() -> Event | None:
        return await anext(stream, None)

    reading = asyncio.create_task(read())
    try:
        await asyncio.wait([reading], timeout=timeout)
        if not reading.done() and not api.is_connected:
            raise no_answer(api.address)
        return await reading
    finally:
        reading.cancel()


def _calls(execution_id: str) -> _Calls:
    """Return the calls to the service of an id's kind; agents' refuses what is no id at all."""
    return _CALLS[Kind.of_id(execution_id) or Kind.AGENT]


_CALLS = {
    Kind.AGENT: _Calls(
        get=lambda api, execution_id, full, pending_steps: api.call(
            api.executions.GetAgentExecution,
            GetAgentExecutionRequest(
                id=execution_id,
                pending_steps=pending_steps,
                view=AGENT_EXECUTION_VIEW_FULL if full else AGENT_EXECUTION_VIEW_BASIC,
            ),
        ),
        list_page=lambda api, query, size, token: api.call(
            api.executions.ListAgentExecutions,
            ListAgentExecutionsRequest(filter=query, page_size=size, page_token=token),
        ),
        cancel=lambda api, execution_id, reason: api.call(
            api.executions.CancelAgentExecution,
            CancelAgentExecutionRequest(id=execution_id, reason=reason),
        ),
        watch=lambda api, execution_id, cursor: api.executions.WatchAgentExecution(
            WatchAgentExecutionRequest(id=execution_id, cursor=cursor), metadata=api.metadata
        ),
    ),
    Kind.WORKFLOW: _Calls(
        get=lambda api, execution_id, full, pending_steps: api.call(
            api.workflow_executions.GetWorkflowExecution,
            GetWorkflowExecutionRequest(
                id=execution_id,
                pending_steps=pending_steps,
                view=WORKFLOW_EXECUTION_VIEW_FULL if full else WORKFLOW_EXECUTION_VIEW_BASIC,
            ),
        ),
        list_page=lambda api, query, size, token: api.call(
            api.workflow_executions.ListWorkflowExecutions,
            ListWorkflowExecutionsRequest(filter=query, page_size=size, page_token=token),
        ),
        cancel=lambda api, execution_id, reason: api.call(
            api.workflow_executions.CancelWorkflowExecution,
            CancelWorkflowExecutionRequest(id=execution_id, reason=reason),
        ),
        watch=lambda api, execution_id, cursor: api.workflow_executions.WatchWorkflowExecution(
            WatchWorkflowExecutionRequest(id=execution_id, cursor=cursor), metadata=api.metadata
        ),
    ),
}
