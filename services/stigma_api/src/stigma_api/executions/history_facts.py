"""Facts that the history of an execution's run records: what watches and diagnoses phrase."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from typing_extensions import override

from stigma.agent.v1.agent_execution_pb2 import InputResolution, ToolResult
from stigma.contracts import tokens
from stigma.contracts.agent_runtime import Report
from stigma.internal.v1.execution_pb2 import (
    AgentWorkflowInput,
    Bind,
    CarriedState,
    ConverseRequest,
    ConverseResponse,
    DeliverCallbackRequest,
    DeliverCallbackResponse,
    ModelCallResponse,
    PendingInputs,
    SendMessage,
    SummarizeRequest,
    SummarizeResponse,
)
from stigma_api.temporal.payloads import message

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Content(Generic[M]):
    """A payload, decoded only for those who need it: it may hold a whole conversation."""

    client: Client
    payloads: Iterable[Payload]
    message_type: type[M]

    async def read(self) -> M:
        """Decode the payload; one that is no such message is empty."""
        return await message(self.client, self.payloads, self.message_type)


@dataclass(frozen=True)
class SharedContent(Content[M]):
    """A payload that several read: it is decoded once, and nobody may change it."""

    _decoded: list[M] = field(default_factory=list, init=False, repr=False, compare=False)

    @override
    async def read(self) -> M:
        if not self._decoded:
            self._decoded.append(await super().read())
        return self._decoded[0]


@dataclass(frozen=True)
class Fact:
    """A fact that one event records."""


@dataclass(frozen=True)
class RunStarted(Fact):
    """The start of a run."""

    continued_run_id: str
    """The run before; empty for the execution's first."""
    memo: Mapping[str, Payload]
    agent_input: Content[AgentWorkflowInput]

    async def carried(self) -> CarriedState:
        """Return what the run before handed on to this one, of an agent."""
        carried = (await self.agent_input.read()).carried
        bindings = [bind for bind in carried.bindings if is_token(bind.token)]
        del carried.bindings[:]
        carried.bindings.extend(bindings)
        return carried


@dataclass(frozen=True)
class WorkflowTaskStarted(Fact):
    """A worker took the workflow's next task."""


@dataclass(frozen=True)
class Bound(Fact):
    """An attempt of the caller's activity was bound; never one that the workflow ignored."""

    bind: Bind


@dataclass(frozen=True)
class CancelRequested(Fact):
    """The execution was asked to stop, through Temporal."""

    reason: str


@dataclass(frozen=True)
class InputsChanged(Fact):
    """The pending inputs of the execution have changed."""

    inputs: Content[PendingInputs]


@dataclass(frozen=True)
class InputResolved(Fact):
    """A pending input was answered."""

    resolution: Content[InputResolution]


@dataclass(frozen=True)
class MessageSent(Fact):
    """A message was sent to the execution."""

    message: Content[SendMessage]


@dataclass(frozen=True)
class StepReported(Fact):
    """The workflow that is the agent told of a step."""

    number: int
    report: Report


@dataclass(frozen=True)
class CallerLost(Fact):
    """The watch over the caller ended: the caller is gone, or asks the execution to stop."""

    cancel_requested: bool


@dataclass(frozen=True)
class Closed(Fact):
    """The execution ended."""

    event: HistoryEvent


@dataclass(frozen=True)
class Step(Fact):
    """The start of what the execution has others do."""

    event_id: int
    activity_id: str


@dataclass(frozen=True)
class ModelCallStarted(Step):
    """A model call was scheduled."""

    number: int
    model: str
    request: Content[ConverseRequest] | None = None
    """Of an agent with tools."""


@dataclass(frozen=True)
class SummaryStarted(Step):
    """A summary of old steps was scheduled."""

    number: int
    """Of the model call that it is for."""
    request: Content[SummarizeRequest]


@dataclass(frozen=True)
class DeliveryStarted(Step):
    """A delivery to the caller was scheduled."""

    request: Content[DeliverCallbackRequest]


@dataclass(frozen=True)
class CallerWatchStarted(Step):
    """The watch over the caller was scheduled."""


@dataclass(frozen=True)
class ToolCallStarted(Step):
    """A tool call was handed to its worker: an activity, a child workflow or a Nexus operation."""

    call_id: str
    read_name: Callable[[], Awaitable[str]]
    """Returns the tool's name; empty where the answer that called it was not read."""
    queue: str = ""
    """Task queue of an activity or a child."""
    endpoint: str = ""
    """Nexus endpoint of an operation."""
    workflow_id: str = ""
    """Of a child."""
    execution_id: str = ""
    """Of a child that is the execution of an agent."""
    goes_on: bool = False
    """Whether the call began in a run before this one: its MCP server has asked something then."""


@dataclass(frozen=True)
class EngineRunRequested(Step):
    """A run was asked for: of the engine for a document, or of the workflow that is an agent."""

    workflow_id: str
    workflow_type: str
    agent_queue: str = ""
    """Task queue of the latter; empty for the engine."""


@dataclass(frozen=True)
class StepProgress(Fact):
    """What came of a step."""

    step: Step


@dataclass(frozen=True)
class EngineRunStarted(StepProgress):
    """The run has begun."""

    step: EngineRunRequested
    run_id: str


@dataclass(frozen=True)
class AttemptStarted(StepProgress):
    """A worker took a step; recorded once the step ends, for its last attempt."""

    attempt: int


@dataclass(frozen=True)
class StepFailed(StepProgress):
    """A step ended for good without a result."""

    failure: Failure | None
    status: str
    """Of one without a failure: "cancelled", "terminated" and so on."""


@dataclass(frozen=True)
class ModelCallCompleted(StepProgress):
    """A model answered."""

    step: ModelCallStarted
    response: Content[ModelCallResponse] | Content[ConverseResponse]
    """The latter of an agent with tools."""


@dataclass(frozen=True)
class SummaryCompleted(StepProgress):
    """A model has written a summary."""

    step: SummaryStarted
    response: Content[SummarizeResponse]


@dataclass(frozen=True)
class ToolRunStarted(StepProgress):
    """The child workflow of a tool call has begun."""

    step: ToolCallStarted
    run_id: str


@dataclass(frozen=True)
class ToolCallEnded(StepProgress):
    """A tool call ended."""

    step: ToolCallStarted
    failure: Failure | None
    """Absent or empty where it succeeded, or was cancelled."""
    read_result: Callable[[], Awaitable[ToolResult | None]]
    """Returns the result as the model is told; None where the call goes on: an MCP server has asked
    something, or has made a task of it."""


@dataclass(frozen=True)
class DeliveryCompleted(StepProgress):
    """A delivery came to a verdict."""

    step: DeliveryStarted
    response: Content[DeliverCallbackResponse]


@dataclass(frozen=True)
class EngineRunCompleted(StepProgress):
    """The run completed."""

    step: EngineRunRequested


@dataclass(frozen=True)
class LocalDelivery(Fact):
    """A delivery by a local activity, recorded as one event once it is over."""

    attempt: int
    start: datetime | None
    end: datetime | None
    failed: bool
    response: Content[DeliverCallbackResponse]


def is_token(token: bytes) -> bool:
    """Return whether these bytes are a task token; the workflow binds no others."""
    try:
        tokens.parse(token)
    except tokens.InvalidTokenError:
        return False
    return True
