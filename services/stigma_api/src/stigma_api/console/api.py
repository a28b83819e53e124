"""The services of the API as the console calls them: within bounds of its own.

Permissions, scope and errors are those of the RPCs, because they are the same services. Bounds are
as wide as theirs, but pages take no RPC's place.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import grpc

from stigma.agent.v1.agent_execution_pb2 import InputResolution, PendingInput
from stigma.agent.v1.agent_execution_service_pb2 import (
    SubmitAgentInputRequest,
    WatchAgentExecutionResponse,
)
from stigma.agent.v1.agent_pb2 import Agent
from stigma.agent.v1.agent_session_pb2 import AgentSession
from stigma.contracts import engine
from stigma.contracts.executions import Execution, Kind
from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    ExecutionTimeline,
    ListStuckExecutionsRequest,
    ListStuckExecutionsResponse,
)
from stigma.workflow.v1.workflow_execution_service_pb2 import WatchWorkflowExecutionResponse
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma_api import errors
from stigma_api.access.concurrency import ConcurrencyLimit, with_timeout
from stigma_api.access.principals import Principal
from stigma_api.console.merged_pages import (
    ExecutionPage,
    format_page,
    kind_of,
    parse_page,
    recency,
)
from stigma_api.console.searches import Search
from stigma_api.definitions.registry import Version
from stigma_api.errors import ApiError
from stigma_api.executions.cursors import Cursor, Position
from stigma_api.executions.inputs import VisibleInput
from stigma_api.executions.lookup import Found
from stigma_api.services import Services

_PAGE_SIZE = 25
_DEFINITIONS_PAGE_SIZE = 50
# Inputs on the page of the inbox, and pages of executions that are read to find them.
_MAX_INBOX = 25
_MAX_INBOX_READS = 10
# Timelines and scans at a time: each reads many histories, in the event loop of the RPCs.
_MAX_LONG_READS = 4
_MAX_VERSIONS = 100
_SESSIONS_PAGE_SIZE = 50

R = TypeVar("R")


@dataclass(frozen=True)
class Inbox:
    """Pending inputs that a principal may answer."""

    inputs: Sequence[PendingInput]
    """Without details."""
    has_more: bool


class Api:
    """Calls the services within bounds.

    Every call may be refused as an RPC: RESOURCE_EXHAUSTED, or DEADLINE_EXCEEDED. `changes` is
    bounded by the stream that it feeds.

    Args:
        services: what it calls.
        max_calls: most calls at a time.
        call_timeout: longest time of one, with the wait for others before it.
    """

    def __init__(self, services: Services, *, max_calls: int, call_timeout: timedelta) -> None:
        self._services = services
        self._calls = ConcurrencyLimit(max_calls, "calls of the console")
        self._call_timeout = call_timeout
        self._long_reads = asyncio.Semaphore(_MAX_LONG_READS)

    async def executions(self, principal: Principal, search: Search, page: str) -> ExecutionPage:
        """Return a page of executions: of one kind in Temporal's order, of both side by side.

        Raises:
            ApiError: as the RPCs; a filter that only one kind understands finds that kind's.
        """
        tokens = parse_page(search.kinds, page)
        answers = await asyncio.gather(
            *(self._list(principal, kind, search, token) for kind, token in tokens.items()),
            return_exceptions=True,
        )
        refusals = [answer for answer in answers if isinstance(answer, BaseException)]
        if refusals and not (len(refusals) < len(answers) and all(map(_is_bad_filter, refusals))):
            raise refusals[0]
        found: list[Execution] = []
        nexts: dict[Kind, str] = {}
        for kind, answer in zip(tokens, answers, strict=True):
            if not isinstance(answer, BaseException):
                executions, nexts[kind] = answer
                found += executions
        if len(tokens) > 1:
            found.sort(key=recency, reverse=True)
        return ExecutionPage(found, format_page(nexts))

    async def find(self, principal: Principal, text: str) -> Found:
        """Return the executions that an id of something else names."""
        return await self._call_long(lambda: self._services.lookup.find(principal, text))

    async def outcomes(
        self, principal: Principal, search: Search, edges: Sequence[datetime]
    ) -> Sequence[Mapping[str, int]]:
        """Return the number of executions by outcome between each two edges.

        Raises:
            ApiError: as the RPCs; a filter that only one kind understands counts that kind's.
        """
        counted = await asyncio.gather(
            *(self._outcomes(principal, kind, search, edges) for kind in search.kinds),
            return_exceptions=True,
        )
        refusals = [each for each in counted if isinstance(each, BaseException)]
        if refusals and not (len(refusals) < len(counted) and all(map(_is_bad_filter, refusals))):
            raise refusals[0]
        of_kinds = [each for each in counted if not isinstance(each, BaseException)]
        return [sum(map(Counter, span), Counter()) for span in zip(*of_kinds, strict=True)]

    async def execution(
        self, principal: Principal, execution_id: str, *, pending_steps: bool = False
    ) -> Execution:
        """Return one execution, an agent's with its conversation, a workflow's with its input.

        Args:
            principal: who asks.
            execution_id: of the execution.
            pending_steps: with what it waits for, if it is open.
        """
        return await self._get(principal, execution_id, full=True, pending_steps=pending_steps)

    async def outcome(self, principal: Principal, execution_id: str) -> Execution:
        """Return one execution as it ended, without what it was about."""
        return await self._get(principal, execution_id, full=False)

    async def changes(
        self, principal: Principal, execution_id: str, cursor: str
    ) -> AsyncGenerator[WatchAgentExecutionResponse | WatchWorkflowExecutionResponse, None]:
        """Yield what happens to an execution, and what its model writes, until it ends.

        Raises:
            ApiError: as the RPC; INVALID_ARGUMENT for a cursor that is not, or no more, of it.
        """
        service = self._services.executions[Kind.of_id(execution_id) or Kind.WORKFLOW]
        watch = service.watch(principal, execution_id, cursor)
        async with aclosing(watch) as events:
            async for event in events:
                yield event

    async def timeline(self, principal: Principal, execution_id: str) -> ExecutionTimeline:
        """Return an execution's timeline."""
        return await self._call_long(
            lambda: self._services.diagnosis.timeline(principal, execution_id)
        )

    async def stuck(self, principal: Principal) -> ListStuckExecutionsResponse:
        """Return the executions that make no progress."""
        request = ListStuckExecutionsRequest()
        return await self._call_long(lambda: self._services.diagnosis.stuck(principal, request))

    async def definitions(
        self, principal: Principal, kind: Kind, page: str
    ) -> tuple[Sequence[Agent | Workflow], str]:
        """Return a page of agents or workflows, and the token of the next one."""
        service = self._services.definitions[kind]
        return await self.call(
            lambda: service.page(principal, size=_DEFINITIONS_PAGE_SIZE, token=page)
        )

    async def definition(
        self, principal: Principal, kind: Kind, definition_id: str
    ) -> Agent | Workflow:
        """Return one version of an agent or workflow."""
        service = self._services.definitions[kind]
        return await self.call(lambda: service.get(principal, definition_id))

    async def versions(self, principal: Principal, kind: Kind, name: str) -> Sequence[Version]:
        """Return the newest versions of an agent or workflow."""
        service = self._services.definitions[kind]
        return await self.call(lambda: service.versions(principal, name, size=_MAX_VERSIONS))

    async def sessions(self, principal: Principal, page: str) -> tuple[Sequence[AgentSession], str]:
        """Return a page of sessions, and the token of the next one."""
        service = self._services.sessions
        return await self.call(
            lambda: service.page(principal, size=_SESSIONS_PAGE_SIZE, token=page)
        )

    async def session(self, principal: Principal, session_id: str, owner: str) -> AgentSession:
        """Return a session with its conversation."""
        service = self._services.sessions
        return await self.call(lambda: service.get(principal, session_id, owner=owner, full=True))

    async def inbox(self, principal: Principal) -> Inbox:
        """Return the pending inputs that the principal may answer, as many as fit on a page."""
        service = self._services.inputs
        found: list[PendingInput] = []
        token = ""
        for _ in range(_MAX_INBOX_READS):
            read = partial(service.visible, principal, size=_PAGE_SIZE, token=token)
            page, token = await self.call(read)
            found += [each.found for each in page if each.may_answer]
            if not token or len(found) >= _MAX_INBOX:
                break
        return Inbox(found[:_MAX_INBOX], bool(token) or len(found) > _MAX_INBOX)

    async def inputs(
        self, principal: Principal, execution_id: str, input_id: str = ""
    ) -> Sequence[VisibleInput]:
        """Return an execution's pending inputs, or one of them, with details."""
        if Kind.of_id(execution_id) is not Kind.AGENT:
            raise errors.not_found(f"execution {execution_id}")
        service = self._services.inputs
        return await self.call(lambda: service.visible_of(principal, execution_id, input_id))

    async def submit(
        self, principal: Principal, request: SubmitAgentInputRequest
    ) -> InputResolution:
        """Answer a pending input."""
        return await self.call(lambda: self._services.inputs.submit(principal, request))

    async def _get(
        self, principal: Principal, execution_id: str, *, full: bool, pending_steps: bool = False
    ) -> Execution:
        service = self._services.executions[kind_of(execution_id)]
        return await self.call(
            lambda: service.get(principal, execution_id, full=full, pending_steps=pending_steps)
        )

    async def _outcomes(
        self, principal: Principal, kind: Kind, search: Search, edges: Sequence[datetime]
    ) -> Sequence[Mapping[str, int]]:
        service, text = self._services.executions[kind], search.filter(kind)
        return await self._call_long(lambda: service.outcomes(principal, text, edges))

    async def _list(
        self, principal: Principal, kind: Kind, search: Search, token: str
    ) -> tuple[Sequence[Execution], str]:
        service, text = self._services.executions[kind], search.filter(kind)
        return await self.call(lambda: service.page(principal, text, size=_PAGE_SIZE, token=token))

    async def call(self, call: Callable[[], Awaitable[R]]) -> R:
        """Make a call within the bounds."""
        with self._calls.slot():
            return await with_timeout(self._call_timeout, call())

    async def _call_long(self, call: Callable[[], Awaitable[R]]) -> R:
        """Call what reads many histories, a few at a time."""

        async def in_turn() -> R:
            async with self._long_reads:
                return await call()

        return await self.call(in_turn)


def newest_run_cursor(timeline: ExecutionTimeline) -> str:
    """Return a cursor at the start of the newest runs in a timeline; empty for none.

    Whatever happens after the timeline was read has an event after that cursor.
    """
    own = _newest_run(timeline, timeline.execution_id)
    document = _newest_run(timeline, engine.run_id(timeline.execution_id))
    return str(Cursor(own, document)) if own else ""


def _newest_run(timeline: ExecutionTimeline, workflow_id: str) -> Position | None:
    """Return the start of the newest run of a workflow in a timeline."""
    run_ids = [each.run_id for each in timeline.entries if each.workflow_id == workflow_id]
    newest = next(filter(None, reversed(run_ids)), "")
    return Position(newest, 0) if newest else None


def _is_bad_filter(refusal: BaseException) -> bool:
    if not isinstance(refusal, ApiError):
        return False
    return refusal.code == grpc.StatusCode.INVALID_ARGUMENT and refusal.fields == ["filter"]
