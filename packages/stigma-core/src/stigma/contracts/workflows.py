"""Workflow interfaces. Implemented by `stigma_orchestrator`, used by `stigma_api`."""

from __future__ import annotations

from enum import StrEnum

from temporalio import workflow
from temporalio.common import RawValue

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, InputResolution
from stigma.agent.v1.agent_execution_service_pb2 import SendAgentMessageResponse
from stigma.agent.v1.agent_session_pb2 import AgentSession
from stigma.internal.v1.execution_pb2 import (
    AgentWorkflowInput,
    Bind,
    CheckModelPriceRequest,
    CheckModelPriceResponse,
    ListMcpToolsRequest,
    ListMcpToolsResponse,
    PendingInputs,
    SendMessage,
    SubmitInput,
    WorkflowExecutionInput,
)
from stigma.internal.v1.session_pb2 import (
    RequestTurn,
    SessionWorkflowInput,
    TurnAccepted,
    TurnBegins,
    TurnEnded,
)
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution

BIND = "bind"
SUBMIT_INPUT = "submit_input"
SEND_MESSAGE = "send_message"
STOP_AFTER_STEP = "stop_after_step"
REPORT = "report"
REQUEST_INPUT = "request_input"
ANSWER_INPUT = "stigma_input_answer"
"""To the workflow that is an agent, which has signals of its own."""
TURN_BEGINS = "turn_begins"
INTERRUPT = "interrupt"
SESSION_MEMO = "session"
"""Key of the memo of a session's workflow: an `AgentSession` as lists show it."""


class UpdateRefusal(StrEnum):
    """Why an update of an execution or a session is refused, before history has it.

    The type of the error.
    """

    INPUT_NOT_FOUND = "INPUT_NOT_FOUND"
    INPUT_RESOLVED = "INPUT_RESOLVED"
    INPUT_EXPIRED = "INPUT_EXPIRED"
    DIGEST_MISMATCH = "DIGEST_MISMATCH"
    SELF_APPROVAL = "SELF_APPROVAL"
    NOT_AN_APPROVER = "NOT_AN_APPROVER"
    ANSWER_NOT_ALLOWED = "ANSWER_NOT_ALLOWED"
    NOT_RUNNING = "NOT_RUNNING"
    MESSAGES_NOT_TAKEN = "MESSAGES_NOT_TAKEN"
    TOO_MANY_MESSAGES = "TOO_MANY_MESSAGES"
    SESSION_BUSY = "SESSION_BUSY"
    SESSION_ENDED = "SESSION_ENDED"
    TOO_MANY_TURNS = "TOO_MANY_TURNS"


@workflow.defn(name="AgentWorkflow")
class AgentWorkflow:
    """One agent execution. Its workflow id is the execution's id."""

    @workflow.run
    async def run(self, request: AgentWorkflowInput) -> AgentExecution:
        """Run the agent, deliver its outcome, and return it.

        Fails with an `ErrorType` whose details hold the execution when it did not complete;
        closes cancelled when it was cancelled.
        """
        raise NotImplementedError

    @workflow.signal(name=BIND)
    def bind(self, bind: Bind) -> None:
        """Bind an attempt of the caller's activity."""
        raise NotImplementedError

    @workflow.signal(name=REPORT)
    def report(self, report: RawValue) -> None:
        """Take a step that the agent's own workflow tells of: see `agent_runtime.Report`."""
        raise NotImplementedError

    @workflow.signal(name=REQUEST_INPUT)
    def request_input(self, request: RawValue) -> None:
        """Ask people for the agent's own workflow: see `agent_runtime.InputRequest`."""
        raise NotImplementedError

    @workflow.update(name=SUBMIT_INPUT)
    def submit_input(self, submitted: SubmitInput) -> InputResolution:
        """Answer a pending input; refused with an `UpdateRefusal`, before history has it."""
        raise NotImplementedError

    @workflow.update(name=SEND_MESSAGE)
    def send_message(self, sent: SendMessage) -> SendAgentMessageResponse:
        """Take a message for the model; refused as `submit_input`."""
        raise NotImplementedError

    @workflow.update(name=STOP_AFTER_STEP)
    def stop_after_step(self, reason: str) -> None:
        """Stop once the calls under way have ended; refused as `submit_input`."""
        raise NotImplementedError

    @workflow.signal(name=TURN_BEGINS)
    def turn_begins(self, begins: TurnBegins) -> None:
        """Begin, with what was said in the session before; of executions in sessions."""
        raise NotImplementedError

    @workflow.signal(name=INTERRUPT)
    def interrupt(self) -> None:
        """Stop once the calls under way have ended: another turn of the session waits."""
        raise NotImplementedError

    @workflow.query(name="execution")
    def execution(self) -> AgentExecution:
        """Return the execution as it stands, conversation included."""
        raise NotImplementedError

    @workflow.query(name="pending_inputs")
    def pending_inputs(self, input_id: str = "") -> PendingInputs:
        """Return what the execution waits for from people.

        Args:
            input_id: return only this one, with its arguments and schema. Of all, they are left
                out where they are too many.
        """
        raise NotImplementedError


class AgentRuntime:
    """A workflow that is an agent, of a type of its author's."""

    @workflow.signal(name=ANSWER_INPUT)
    def answer_input(self, answer: RawValue) -> None:
        """Take what came of a request of input: see `agent_runtime.answer`."""
        raise NotImplementedError


@workflow.defn(name="SessionWorkflow")
class SessionWorkflow:
    """One session. Its workflow id is `ids.session_workflow_id`."""

    @workflow.run
    async def run(self, request: SessionWorkflowInput) -> None:
        """Hand out turns, one at a time, until it is deleted or was not used for too long."""
        raise NotImplementedError

    @workflow.update(name="request_turn")
    def request_turn(self, request: RequestTurn) -> TurnAccepted:
        """Give an execution a place; refused with an `UpdateRefusal`, before history has it.

        A repetition returns the place that the execution has.
        """
        raise NotImplementedError

    @workflow.update(name="delete_session")
    def delete_session(self) -> None:
        """End the session; refused as `request_turn`."""
        raise NotImplementedError

    @workflow.signal(name="turn_arrives")
    def turn_arrives(self, execution_id: str) -> None:
        """Note that the workflow of a turn waits; one without a place gets the last one."""
        raise NotImplementedError

    @workflow.signal(name="turn_ended")
    def turn_ended(self, ended: TurnEnded) -> None:
        """End a turn, and take in what it adds to the conversation."""
        raise NotImplementedError

    @workflow.query(name="session")
    def session(self, with_messages: bool = False) -> AgentSession:
        """Return the session as it stands."""
        raise NotImplementedError


@workflow.defn(name="ListMcpToolsWorkflow")
class ListMcpToolsWorkflow:
    """One listing of MCP servers' tools, for the API: it has no worker of its own."""

    @workflow.run
    async def run(self, request: ListMcpToolsRequest) -> ListMcpToolsResponse:
        """List the tools; what cannot be listed is a problem of the response."""
        raise NotImplementedError


@workflow.defn(name="CheckModelPriceWorkflow")
class CheckModelPriceWorkflow:
    """One check of a model's price, for the API: only the AI worker knows it."""

    @workflow.run
    async def run(self, request: CheckModelPriceRequest) -> CheckModelPriceResponse:
        """Return whether the model's price is known."""
        raise NotImplementedError


@workflow.defn(name="WorkflowExecutionWorkflow")
class WorkflowExecutionWorkflow:
    """One workflow execution. Its workflow id is the execution's id."""

    @workflow.run
    async def run(self, request: WorkflowExecutionInput) -> WorkflowExecution:
        """Run the document in the engine, deliver its outcome, and return it.

        Fails with an `ErrorType` whose details hold the execution when it did not complete;
        closes cancelled when it was cancelled.
        """
        raise NotImplementedError

    @workflow.signal(name=BIND)
    def bind(self, bind: Bind) -> None:
        """Bind an attempt of the caller's activity."""
        raise NotImplementedError

    @workflow.query(name="execution")
    def execution(self, with_request: bool = True) -> WorkflowExecution:
        """Return the execution as it stands, its spec included if `with_request`."""
        raise NotImplementedError
