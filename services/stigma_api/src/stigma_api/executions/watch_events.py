"""Watch events: facts of a history in the API's words. Tokens appear as fingerprints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar, cast

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.failure.v1 import Failure as TemporalFailure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.exceptions import TimeoutError as ActivityTimeoutError
from typing_extensions import override

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, Failure, ToolResult
from stigma.agent.v1.agent_execution_service_pb2 import (
    CallbackBound,
    CallbackDelivering,
    CancelRequested,
    ConversationSummarized,
    ExecutionStarted,
    MessageReceived,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    ModelProgress,
    StepReported,
    ToolCallEnded,
    ToolCallStarted,
    WatchAgentExecutionResponse,
)
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_CANCELLED,
    FAILURE_REASON_INTERNAL,
    FAILURE_REASON_MODEL_TIMEOUT,
)
from stigma.contracts import errors, tokens
from stigma.contracts.executions import Execution
from stigma.internal.v1.execution_pb2 import ConverseResponse, ModelCallResponse
from stigma.workflow.v1.workflow_execution_pb2 import EngineRun, WorkflowExecution
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    EngineRunStarted,
    WatchWorkflowExecutionResponse,
    WorkflowExecutionStarted,
)
from stigma_api.executions import history_facts as facts
from stigma_api.executions import outcome
from stigma_api.executions.history import HistoryReader
from stigma_api.executions.history_facts import Content, Fact, M
from stigma_api.executions.input_events import InputEvents
from stigma_api.executions.model_progress import ProgressFilter

T = TypeVar("T", WatchAgentExecutionResponse, WatchWorkflowExecutionResponse)


class WatchEventMapper(ABC, Generic[T]):
    """Maps the events of one run, in order; who follows the runs maps the end of the last.

    Args:
        client: decodes payloads.
        execution_id: of the execution.
        digest: of the request that started the execution, in hex.
    """

    response: type[T]

    def __init__(self, client: Client, execution_id: str, digest: str) -> None:
        self._client = client
        self._history = HistoryReader(client, execution_id, digest)
        self._newest_token = b""
        self._is_delivering = False
        self._is_new = True
        self._time = Timestamp()
        self.last_mapped_at = 0
        """Time of the last history event that was mapped, in nanoseconds since the epoch."""

    async def map(self, event: HistoryEvent, *, is_new: bool = True) -> Sequence[T]:
        """Return the watch events of a history event; none for Temporal's own housekeeping.

        Args:
            event: the next one of the run.
            is_new: False for one that is only kept in mind for those after it: nothing is
                returned, and most of it stays undecoded.
        """
        self._is_new = is_new
        self._time = event.event_time
        fact = await self._history.read(event)
        mapped = await self._map(fact) if fact is not None else []
        if mapped:
            self.last_mapped_at = event.event_time.ToNanoseconds()
        return mapped if is_new else []

    async def map_end(self, execution: Execution) -> Sequence[T]:
        """Return the watch events of the execution's end; the last one is its own."""
        ended = self.response()
        ended.ended.execution.MergeFrom(cast("Any", execution))
        mapped = list(await self.map_left_open())
        mapped.append(ended)
        return mapped

    async def map_left_open(self) -> Sequence[T]:
        """Return the watch events of what had not ended when the execution did."""
        return []

    def map_progress(self, progress: ModelProgress) -> Sequence[T]:  # noqa: ARG002
        """Return the watch event of what a model has written, if it is new."""
        return []

    @abstractmethod
    async def map_kind_fact(self, fact: Fact) -> Sequence[T]:
        """Return the watch events of a fact that this kind of executions has its own for."""

    async def decode_if_new(self, content: Content[M]) -> M:
        """Decode what only this event needs; an empty message where nobody gets the event."""
        return await content.read() if self._is_new else content.message_type()

    async def _map(self, fact: Fact) -> Sequence[T]:
        match fact:
            case facts.Bound(bind=bind):
                self._newest_token = bind.token
                bound = CallbackBound(fingerprint=tokens.fingerprint(bind.token))
                return [self.response(callback_bound=bound)]
            case facts.CancelRequested(reason=reason):
                return [self.response(cancel_requested=CancelRequested(reason=reason))]
            case facts.DeliveryStarted() | facts.LocalDelivery():
                return await self._map_delivery(fact)
            case _:
                return await self.map_kind_fact(fact)

    async def _map_delivery(self, fact: facts.DeliveryStarted | facts.LocalDelivery) -> Sequence[T]:
        """Return the event of the first delivery; where it names no token, of the newest."""
        if self._is_delivering:
            return []
        self._is_delivering = True
        token = b""
        if isinstance(fact, facts.DeliveryStarted):
            token = (await self.decode_if_new(fact.request)).token
        delivering = CallbackDelivering(fingerprint=tokens.fingerprint(token or self._newest_token))
        return [self.response(callback_delivering=delivering)]


class AgentEventMapper(WatchEventMapper[WatchAgentExecutionResponse]):
    """Maps the events of an agent's run."""

    response = WatchAgentExecutionResponse

    def __init__(self, client: Client, execution_id: str, digest: str) -> None:
        super().__init__(client, execution_id, digest)
        self._progress = ProgressFilter()
        self._inputs = InputEvents()

    @override
    def map_progress(self, progress: ModelProgress) -> Sequence[WatchAgentExecutionResponse]:
        new = self._progress.new_part(progress)
        return [self.response(progress=new)] if new is not None else []

    @override
    async def map_left_open(self) -> Sequence[WatchAgentExecutionResponse]:
        return [_tool_call_ended(result) for result in await self._history.calls_left_open()]

    @override
    async def map_kind_fact(self, fact: Fact) -> Sequence[WatchAgentExecutionResponse]:
        match fact:
            case facts.RunStarted():
                return await self._map_start(fact)
            case facts.ModelCallStarted():
                return await self._map_model_call(fact)
            case facts.ModelCallCompleted():
                self._progress.call_ended()
                return await self._map_answer(fact)
            case facts.StepFailed(step=facts.ModelCallStarted(number=number)):
                self._progress.call_ended()
                failure = await self._failure(fact.failure)
                failure.step = f"model_call {number}"
                failed = ModelCallFailed(step=number, failure=failure)
                return [self.response(model_call_failed=failed)]
            case facts.ToolCallStarted() | facts.ToolCallEnded():
                return await self._map_tool_call(fact)
        return await self._map_sent(fact)

    async def _map_sent(self, fact: Fact) -> Sequence[WatchAgentExecutionResponse]:
        """Return the events of summaries, of people, and of the workflow that is the agent."""
        match fact:
            case facts.StepReported(number=number, report=report):
                reported = StepReported(
                    step=number, name=report.step, text=report.text, usage=report.usage
                )
                return [self.response(reported=reported)]
            case facts.SummaryCompleted() | facts.StepFailed(step=facts.SummaryStarted()):
                return [await self._map_summary(fact)]
            case facts.InputsChanged(inputs=content):
                return list(self._inputs.changed((await content.read()).inputs, self._time))
            case facts.InputResolved(resolution=resolution):
                event = self._inputs.resolved(await resolution.read())
                return [] if event is None else [event]
            case facts.MessageSent(message=message):
                sent = await self.decode_if_new(message)
                received = MessageReceived(by=sent.principal, text=sent.text)
                return [self.response(message_received=received)]
        return []

    async def _map_model_call(
        self, fact: facts.ModelCallStarted
    ) -> Sequence[WatchAgentExecutionResponse]:
        self._progress.call_started(fact.number)
        call = ModelCallStarted(step=fact.number, model=fact.model)
        if fact.request is not None:
            compaction = (await self.decode_if_new(fact.request)).compaction
            call.cleared_before = compaction.cleared_before
            call.dropped_before = compaction.dropped_before
        return [self.response(model_call_started=call)]

    async def _map_summary(
        self, fact: facts.SummaryCompleted | facts.StepFailed
    ) -> WatchAgentExecutionResponse:
        summarized = ConversationSummarized()
        if isinstance(fact.step, facts.SummaryStarted):
            summarized.before = (await self.decode_if_new(fact.step.request)).before
        if isinstance(fact, facts.SummaryCompleted):
            response = await self.decode_if_new(fact.response)
            summarized.text = response.text
            summarized.usage.CopyFrom(response.usage)
        else:
            summarized.failure.CopyFrom(await self._failure(fact.failure))
        return self.response(summarized=summarized)

    async def _map_tool_call(
        self, fact: facts.ToolCallStarted | facts.ToolCallEnded
    ) -> Sequence[WatchAgentExecutionResponse]:
        if isinstance(fact, facts.ToolCallEnded):
            result = await fact.read_result() if self._is_new else ToolResult()
            return [] if result is None else [_tool_call_ended(result)]
        if fact.goes_on:
            return []
        name = await fact.read_name() if self._is_new else ""
        started = ToolCallStarted(call_id=fact.call_id, name=name, execution_id=fact.execution_id)
        return [self.response(tool_call_started=started)]

    async def _map_answer(
        self, fact: facts.ModelCallCompleted
    ) -> Sequence[WatchAgentExecutionResponse]:
        """Return the end of a model call, and of each tool call in its answer that is refused."""
        content: Content[Any] = fact.response
        answer: ModelCallResponse | ConverseResponse = await self.decode_if_new(content)
        completed = ModelCallCompleted(
            step=fact.step.number, message=answer.message, usage=answer.usage
        )
        refused = answer.refused if isinstance(answer, ConverseResponse) else ()
        return [
            self.response(model_call_completed=completed),
            *map(_tool_call_ended, refused),
        ]

    async def _map_start(self, fact: facts.RunStarted) -> Sequence[WatchAgentExecutionResponse]:
        if not fact.continued_run_id:
            execution = await outcome.from_memo(self._client, fact.memo, AgentExecution)
            return [self.response(started=ExecutionStarted(execution=execution))]
        carried = await fact.carried()
        self._inputs.begin(carried.turn.inputs)
        if carried.bindings:
            self._newest_token = carried.bindings[-1].token
        return []

    async def _failure(self, failure: TemporalFailure | None) -> Failure:
        if failure is None:
            return Failure(reason=FAILURE_REASON_CANCELLED, message="cancelled")
        error = await self._client.data_converter.decode_failure(failure)
        cause = error if isinstance(error, ApplicationError) else error.__cause__ or error
        match cause:
            case ApplicationError():
                return Failure(reason=errors.reason_of(cause.type or ""), message=cause.message)
            case ActivityTimeoutError():
                message = "the model did not answer in time"
                return Failure(reason=FAILURE_REASON_MODEL_TIMEOUT, message=message)
            case CancelledError():
                return Failure(reason=FAILURE_REASON_CANCELLED, message="cancelled")
            case _:
                return Failure(reason=FAILURE_REASON_INTERNAL, message="the model call failed")


class WorkflowEventMapper(WatchEventMapper[WatchWorkflowExecutionResponse]):
    """Maps the events of a workflow execution's run."""

    response = WatchWorkflowExecutionResponse

    @override
    async def map_kind_fact(self, fact: Fact) -> Sequence[WatchWorkflowExecutionResponse]:
        match fact:
            case facts.RunStarted(memo=memo):
                execution = await outcome.from_memo(self._client, memo, WorkflowExecution)
                return [self.response(started=WorkflowExecutionStarted(execution=execution))]
            case facts.EngineRunStarted(step=step, run_id=run_id):
                run = EngineRun(workflow_id=step.workflow_id, run_id=run_id)
                return [self.response(run_started=EngineRunStarted(run=run))]
        return []


def _tool_call_ended(result: ToolResult) -> WatchAgentExecutionResponse:
    return WatchAgentExecutionResponse(tool_call_ended=ToolCallEnded(result=result))
