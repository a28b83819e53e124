"""Reads executions: description, memo and close event first; a query only adds detail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, cast

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import HistoryEventFilterType, PendingWorkflowTaskState
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryRequest,
)
from temporalio.client import Client, WorkflowQueryFailedError, WorkflowQueryRejectedError
from temporalio.converter import decode_typed_search_attributes
from temporalio.service import RPCError

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_PENDING,
    AGENT_EXECUTION_PHASE_RUNNING,
    AgentExecution,
    AgentExecutionPhase,
)
from stigma.contracts import search_attributes
from stigma.runtime.pending_activities import OPEN
from stigma_api import errors
from stigma_api.access.principals import Principal
from stigma_api.executions import outcome
from stigma_api.kinds import E, ExecutionInput, ExecutionKind
from stigma_api.temporal.calls import TEMPORAL_TIMEOUT, describe, temporal_call

_QUERY_TIMEOUT = timedelta(seconds=1)
# Of one that has closed in full: nobody reads it again to find more, and a worker replays it all.
_CLOSED_QUERY_TIMEOUT = TEMPORAL_TIMEOUT
# Events before a worker takes it: started, at most one signal, workflow task scheduled.
_UNTOUCHED_LENGTH = 3


@dataclass(frozen=True)
class ExecutionDescription(Generic[E]):
    """One execution: its memo, and Temporal's description of its current run."""

    kind: ExecutionKind[E]
    execution: E
    """As started, from the memo; while it is open, with the phase that Temporal shows."""
    digest: str
    """SHA-256 of the request that started it, in hex."""
    described: DescribeWorkflowExecutionResponse

    @property
    def execution_id(self) -> str:
        """The execution's id, which is the workflow's."""
        return self.described.workflow_execution_info.execution.workflow_id

    @property
    def run_id(self) -> str:
        """The current run."""
        return self.described.workflow_execution_info.execution.run_id

    @property
    def first_run_id(self) -> str:
        """The run that was started; the others continued it."""
        return self.described.workflow_execution_info.first_run_id or self.run_id

    @property
    def history_length(self) -> int:
        """Number of events of the current run."""
        return self.described.workflow_execution_info.history_length

    @property
    def is_open(self) -> bool:
        """True until it has closed."""
        return self.described.workflow_execution_info.status in OPEN

    @property
    def is_pending(self) -> bool:
        """True while it is open and no worker has taken it yet."""
        info, task = self.described.workflow_execution_info, self.described.pending_workflow_task
        waits = task.state == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED
        is_first = self.first_run_id == self.run_id
        return self.is_open and waits and is_first and info.history_length <= _UNTOUCHED_LENGTH

    @property
    def definition_id(self) -> str:
        """The agent or workflow, as "name@version"; empty for an inline one."""
        return self.kind.definition_id(self.execution.spec)

    @property
    def start_time(self) -> Timestamp:
        """When it was accepted: a run that continued it began later."""
        if self.execution.status.HasField("start_time"):
            return self.execution.status.start_time
        return self.described.workflow_execution_info.start_time

    @property
    def phase(self) -> str:
        """The phase's name without its prefix, as far as Temporal itself knows it."""
        info = self.described.workflow_execution_info
        noted = decode_typed_search_attributes(info.search_attributes).get(search_attributes.PHASE)
        if noted:
            return noted
        if self.is_pending:
            return "PENDING"
        name = AgentExecutionPhase.Name(outcome.phase_of(info.status))
        return name.removeprefix("AGENT_EXECUTION_PHASE_")


class Reader(Generic[E]):
    """Reads executions of some kinds for those who may see them."""

    def __init__(self, client: Client, *kinds: ExecutionKind[E]) -> None:
        self._client = client
        self._kinds: dict[str, ExecutionKind[E]] = {kind.workflow_type: kind for kind in kinds}
        self._name = f"{kinds[0].kind} execution" if len(kinds) == 1 else "execution"

    async def find(self, execution_id: str) -> ExecutionDescription[E] | None:
        """Return the execution with its current run, or None when there is none of this id."""
        reply = await describe(self._client, execution_id)
        kind = self._kinds.get(reply.workflow_execution_info.type.name) if reply else None
        if reply is None or kind is None:
            return None
        memo = reply.workflow_execution_info.memo.fields
        execution = await outcome.from_memo(self._client, memo, kind.execution)
        execution.id = reply.workflow_execution_info.execution.workflow_id
        digest = await outcome.digest_in_memo(self._client, memo)
        found = ExecutionDescription(kind, execution, digest, reply)
        if found.is_open:
            phase = (
                AGENT_EXECUTION_PHASE_PENDING if found.is_pending else AGENT_EXECUTION_PHASE_RUNNING
            )
            outcome.put_phase(execution, phase)
        return found

    async def get(self, execution_id: str) -> ExecutionDescription[E]:
        """Return the execution.

        Raises:
            ApiError: NOT_FOUND.
        """
        found = await self.find(execution_id)
        if found is None:
            raise errors.not_found(f"{self._name} {execution_id}")
        return found

    async def get_visible(self, principal: Principal, execution_id: str) -> ExecutionDescription[E]:
        """Return the execution if this principal may see it.

        Raises:
            ApiError: NOT_FOUND, also for another principal's: whether it exists is not told.
        """
        found = await self.get(execution_id)
        if not principal.may_see(found.execution.spec.principal):
            raise errors.not_found(f"{self._name} {execution_id}")
        return found

    async def read(self, found: ExecutionDescription[E], *, full: bool = False) -> E:
        """Return the execution as it stands.

        Args:
            found: from `find`, `get` or `get_visible`.
            full: with the whole spec, and an agent's conversation if a worker answers within 1 s,
                or, once the execution has closed, within 5 s.
        """
        execution = await self.with_outcome(found)
        untouched = execution.status.phase == AGENT_EXECUTION_PHASE_PENDING
        query_all = full and found.kind.query_returns_spec
        answered = False
        if not untouched and (found.is_open or query_all):
            timeout = _QUERY_TIMEOUT if found.is_open else _CLOSED_QUERY_TIMEOUT
            answered = await self._add_detail(execution, found.kind, timeout, full=query_all)
        if full and not (query_all and answered):
            await self._add_request(execution, found)
        execution.spec.callback_token = b""
        return execution

    async def with_outcome(self, found: ExecutionDescription[E]) -> E:
        """Return the execution without asking any worker: as started, or its outcome."""
        if found.is_open:
            return found.execution
        event = await self._close_event(found)
        if event is None:
            return found.execution
        return await outcome.execution_at_close(self._client, found.execution, event)

    async def request(self, found: ExecutionDescription[E]) -> ExecutionInput | None:
        """Return the workflow's input, from its history; None where Stigma did not start it."""
        [started, *_] = await self._events(found, maximum_page_size=1)
        given = started.workflow_execution_started_event_attributes.input.payloads
        if not given:
            return None
        [request] = await self._client.data_converter.decode(given, [found.kind.input])
        return cast("ExecutionInput", request)

    async def _close_event(self, found: ExecutionDescription[E]) -> HistoryEvent | None:
        events = await self._events(
            found,
            history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
        )
        return events[-1] if events else None

    async def _events(self, found: ExecutionDescription[E], **which: Any) -> Sequence[HistoryEvent]:
        request = GetWorkflowExecutionHistoryRequest(
            namespace=self._client.namespace,
            execution=WorkflowExecution(workflow_id=found.execution_id, run_id=found.run_id),
            skip_archival=True,
            **which,
        )
        async with temporal_call():
            reply = await self._client.workflow_service.get_workflow_execution_history(
                request, retry=True
            )
        return reply.history.events

    async def _add_request(self, execution: E, found: ExecutionDescription[E]) -> None:
        """Add the request, from the input of the run."""
        if (request := await self.request(found)) is not None:
            execution.spec.CopyFrom(cast("Any", request.spec))

    async def _add_detail(
        self, execution: E, kind: ExecutionKind[E], timeout: timedelta, *, full: bool
    ) -> bool:
        """Add what a worker tells; return whether one answered: if not, Temporal's word stands."""
        handle = self._client.get_workflow_handle(execution.id)
        try:
            async with temporal_call(timeout):
                detail: Any = await handle.query(
                    kind.workflow.execution,
                    args=[] if kind.query_returns_spec else [False],
                    rpc_timeout=timeout,
                )
        except (
            errors.ApiError,
            RPCError,
            WorkflowQueryFailedError,
            WorkflowQueryRejectedError,
        ):
            return False
        if not full:
            if isinstance(detail, AgentExecution):
                detail.status.ClearField("messages")
            detail.spec.Clear()
        outcome.merge_into(execution, detail)
        return True
