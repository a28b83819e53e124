"""Activity interfaces: one class a task queue's owner implements."""

from __future__ import annotations

from abc import ABC, abstractmethod

from temporalio import activity

from stigma.internal.v1.execution_pb2 import (
    DeliverCallbackRequest,
    DeliverCallbackResponse,
    ModelCallRequest,
    ModelCallResponse,
    WatchCallerRequest,
    WatchCallerResponse,
)

CALL_MODEL = "call_model"
DELIVER_CALLBACK = "deliver_callback"
DELIVER_WORKFLOW_CALLBACK = "deliver_workflow_callback"
"""Of workflow executions: a name of its own, since 0.1.0 serves the other one and would deliver
their outcomes as those of agents. It does not know this one, and leaves it to a newer worker."""
DELIVERIES = frozenset({DELIVER_CALLBACK, DELIVER_WORKFLOW_CALLBACK})
WATCH_CALLER = "watch_caller"


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


class CallbackActivities(ABC):
    """Served by `stigma_orchestrator`."""

    @activity.defn(name=DELIVER_CALLBACK)
    @abstractmethod
    async def deliver_callback(self, request: DeliverCallbackRequest) -> DeliverCallbackResponse:
        """Resolve a waiting activity: one RPC.

        Raises:
            RPCError: a transient one; every final answer is a verdict.
        """

    @activity.defn(name=DELIVER_WORKFLOW_CALLBACK)
    @abstractmethod
    async def deliver_workflow_callback(
        self, request: DeliverCallbackRequest
    ) -> DeliverCallbackResponse:
        """Resolve a waiting activity with the outcome of a workflow execution: as above."""

    @activity.defn(name=WATCH_CALLER)
    @abstractmethod
    async def watch_caller(self, request: WatchCallerRequest) -> WatchCallerResponse:
        """Look once whether the caller still waits.

        Raises:
            ApplicationError: it waits; carries when to look again.
        """
