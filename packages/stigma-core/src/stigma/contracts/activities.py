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

    @activity.defn(name=WATCH_CALLER)
    @abstractmethod
    async def watch_caller(self, request: WatchCallerRequest) -> WatchCallerResponse:
        """Look once whether the caller still waits.

        Raises:
            ApplicationError: it waits; carries when to look again.
        """
