"""Activity interfaces: one class a task queue's owner implements."""

from __future__ import annotations

from abc import ABC, abstractmethod

from temporalio import activity

from stigma.internal.v1.execution_pb2 import (
    CallMcpToolRequest,
    CallMcpToolResponse,
    CancelMcpTaskRequest,
    CheckModelPriceRequest,
    CheckModelPriceResponse,
    CheckOutputRequest,
    CheckOutputResponse,
    ConverseRequest,
    ConverseResponse,
    DeliverCallbackRequest,
    DeliverCallbackResponse,
    EvaluateRulesRequest,
    EvaluateRulesResponse,
    ListMcpToolsRequest,
    ListMcpToolsResponse,
    ModelCallRequest,
    ModelCallResponse,
    PollMcpTaskRequest,
    ResumeMcpToolRequest,
    SummarizeRequest,
    SummarizeResponse,
    WatchCallerRequest,
    WatchCallerResponse,
)
from stigma.internal.v1.session_pb2 import WatchTurnRequest, WatchTurnResponse

CALL_AGENT = "call_agent"
"""Of callers: the activity that starts an agent and stays pending; its summary names the agent."""
CALL_MODEL = "call_model"
CONVERSE = "converse"
"""For agents with tools: a name of its own, since 0.1.0 would read past what it does not know of
the request, and ask a model without a conversation."""
SUMMARIZE = "summarize"
MODEL_CALLS = frozenset({CALL_MODEL, CONVERSE})
DELIVER_CALLBACK = "deliver_callback"
DELIVER_WORKFLOW_CALLBACK = "deliver_workflow_callback"
"""Of workflow executions: a name of its own, since 0.1.0 serves the other one and would deliver
their outcomes as those of agents. It does not know this one, and leaves it to a newer worker."""
DELIVERIES = frozenset({DELIVER_CALLBACK, DELIVER_WORKFLOW_CALLBACK})
WATCH_CALLER = "watch_caller"
WATCH_TURN = "watch_turn"
LIST_MCP_TOOLS = "list_mcp_tools"
CALL_MCP_TOOL = "call_mcp_tool"
RESUME_MCP_TOOL = "resume_mcp_tool"
"""A name of its own: an older worker would read past the responses, and begin the call anew."""
POLL_MCP_TASK = "poll_mcp_task"
CANCEL_MCP_TASK = "cancel_mcp_task"
LATER_PARTS_OF_MCP_CALLS = frozenset({RESUME_MCP_TOOL, POLL_MCP_TASK, CANCEL_MCP_TASK})
"""Activities of a call that `CALL_MCP_TOOL` has begun, under the same activity id."""
MCP_CALLS = LATER_PARTS_OF_MCP_CALLS | {CALL_MCP_TOOL}
EVALUATE_RULES = "evaluate_rules"
CHECK_MODEL_PRICE = "check_model_price"
CHECK_OUTPUT = "check_output"


class ModelActivities(ABC):
    """Served by `ai_worker`."""

    @activity.defn(name=CALL_MODEL)
    @abstractmethod
    async def call_model(self, request: ModelCallRequest) -> ModelCallResponse:
        """Call a model once.

        Raises:
            ApplicationError: with a reason's name (`errors.reason_name`) as its type; final ones
                are non-retryable.
        """


class ConversationActivities(ABC):
    """Served by `ai_worker`."""

    @activity.defn(name=CONVERSE)
    @abstractmethod
    async def converse(self, request: ConverseRequest) -> ConverseResponse:
        """Call a model once, with the conversation and the tools that the run's history has.

        Raises:
            ApplicationError: as `ModelActivities.call_model`.
        """


class SummaryActivities(ABC):
    """Served by `ai_worker`."""

    @activity.defn(name=SUMMARIZE)
    @abstractmethod
    async def summarize(self, request: SummarizeRequest) -> SummarizeResponse:
        """Have a model summarise old steps of the conversation that the run's history has.

        Raises:
            ApplicationError: as `ModelActivities.call_model`.
        """


class PriceActivities(ABC):
    """Served by `ai_worker`, which alone knows the providers' prices."""

    @activity.defn(name=CHECK_MODEL_PRICE)
    @abstractmethod
    async def check_model_price(self, request: CheckModelPriceRequest) -> CheckModelPriceResponse:
        """Return whether the model's price is known."""


class OutputActivities(ABC):
    """Served by `ai_worker`, which checks the outputs of models too."""

    @activity.defn(name=CHECK_OUTPUT)
    @abstractmethod
    async def check_output(self, request: CheckOutputRequest) -> CheckOutputResponse:
        """Check an output against a schema.

        Raises:
            ApplicationError: of type INVALID_REQUEST, the schema is none.
        """


class McpActivities(ABC):
    """Served by `ai_worker`."""

    @activity.defn(name=LIST_MCP_TOOLS)
    @abstractmethod
    async def list_mcp_tools(self, request: ListMcpToolsRequest) -> ListMcpToolsResponse:
        """List tools of MCP servers; what cannot be listed is a problem of the response."""

    @activity.defn(name=CALL_MCP_TOOL)
    @abstractmethod
    async def call_mcp_tool(self, request: CallMcpToolRequest) -> CallMcpToolResponse:
        """Call a tool of an MCP server, and send the call at most once.

        Raises:
            ApplicationError: of type `tool_results.MCP_CALL_NOT_SENT`: it has not happened; or of
                `tool_results.MCP_CALL_LOST`: it may have.
        """

    @activity.defn(name=RESUME_MCP_TOOL)
    @abstractmethod
    async def resume_mcp_tool(self, request: ResumeMcpToolRequest) -> CallMcpToolResponse:
        """Send a call again, with the responses to what its server asked; at most once.

        A server that does not take back what it had given is asked anew, without responses.

        Raises:
            ApplicationError: as `call_mcp_tool`.
        """

    @activity.defn(name=POLL_MCP_TASK)
    @abstractmethod
    async def poll_mcp_task(self, request: PollMcpTaskRequest) -> CallMcpToolResponse:
        """Return the state of a task, after sending it the responses to what it asked, if any.

        Raises:
            ApplicationError: the server does not tell now; it may later.
        """

    @activity.defn(name=CANCEL_MCP_TASK)
    @abstractmethod
    async def cancel_mcp_task(self, request: CancelMcpTaskRequest) -> CallMcpToolResponse:
        """Have the server cancel a task, and return the result that its call has then.

        Raises:
            ApplicationError: as `poll_mcp_task`.
        """


class RuleActivities(ABC):
    """Served by `zigflow_worker`, which has the language of the expressions."""

    @activity.defn(name=EVALUATE_RULES)
    @abstractmethod
    async def evaluate_rules(self, request: EvaluateRulesRequest) -> EvaluateRulesResponse:
        """Evaluate the expressions of approval rules; one that fails is a verdict too."""


class CallbackActivities(ABC):
    """Served by `stigma_orchestrator` on its own queue."""

    @activity.defn(name=DELIVER_CALLBACK)
    @abstractmethod
    async def deliver_callback(self, request: DeliverCallbackRequest) -> DeliverCallbackResponse:
        """Resolve one waiting activity: one RPC; every final response is a verdict.

        Raises:
            ApplicationError: a transient one, to be retried. Its type is the name of Temporal's
                status code, or `BETWEEN_ATTEMPTS`, benign and with its own delay, while no attempt
                of the activity has started.
        """

    @activity.defn(name=DELIVER_WORKFLOW_CALLBACK)
    @abstractmethod
    async def deliver_workflow_callback(
        self, request: DeliverCallbackRequest
    ) -> DeliverCallbackResponse:
        """Resolve one waiting activity with the outcome of a workflow execution.

        Raises:
            ApplicationError: as `deliver_callback`.
        """


class CallerWatchActivities(ABC):
    """Served by `stigma_orchestrator` on the watch queue."""

    @activity.defn(name=WATCH_CALLER)
    @abstractmethod
    async def watch_caller(self, request: WatchCallerRequest) -> WatchCallerResponse:
        """Watch the caller; return the verdict once it does not wait any more.

        With a heartbeat timeout the activity is pending meanwhile, and its worker keeps the watch.

        Raises:
            ApplicationError: `CALLER_WAITING`, benign, with the delay of the next check: nobody
                keeps the watch, and the caller waits, or Temporal did not answer.
        """


class TurnWatchActivities(ABC):
    """Served by `stigma_orchestrator` on the watch queue."""

    @activity.defn(name=WATCH_TURN)
    @abstractmethod
    async def watch_turn(self, request: WatchTurnRequest) -> WatchTurnResponse:
        """Return once the workflow of a session's turn is not there, or has closed.

        Raises:
            ApplicationError: `TURN_RUNNING`, benign, with the delay of the next look: it runs, may
                still be started, or Temporal did not answer.
        """
