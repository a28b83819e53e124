"""The interface of a provider of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from stigma.agent.v1.agent_execution_pb2 import Message, Usage
from stigma.internal.v1.execution_pb2 import FINISH_REASON_STOP, FinishReason, ModelCallRequest


@dataclass(frozen=True)
class ToolDefinition:
    """What a model is told of a tool."""

    name: str
    description: str
    schema: Mapping[str, Any]
    """JSON Schema of the arguments, an object."""


@dataclass(frozen=True)
class ModelResult:
    """The result of one model call."""

    message: Message
    """Its tool calls have no ids of ours yet, and the text of their arguments as the model gave
    it. A call of `OUTPUT_TOOL` is the output. The provider's own id is in `provider_state`."""
    usage: Usage = field(default_factory=Usage)
    finish_reason: FinishReason.ValueType = FINISH_REASON_STOP
    context_window: int = 0
    """Most tokens of one call of the model; 0: it is not known."""

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.message.parts if part.HasField("text"))


class Provider(Protocol):
    """A source of models, known by the part of a model's name before the colon."""

    @property
    def name(self) -> str:
        """Name as in "name:model"."""

    @property
    def timeout(self) -> timedelta:
        """Longest time one call may take."""

    def model_label(self, model: str) -> str:
        """Return a model's name for metrics: one of a bounded set."""

    def knows_price(self, model: str) -> bool:
        """Return whether the cost of this model's calls can be told.

        Raises:
            CallError: the provider does not offer the model.
        """

    async def call(
        self, model: str, request: ModelCallRequest, attempt: int, tools: Sequence[ToolDefinition]
    ) -> ModelResult:
        """Call a model once; cancelling the task ends the call at once.

        Args:
            model: the name without the provider.
            request: the call, with the whole conversation.
            attempt: counts from 1.
            tools: that the model may call.

        Raises:
            CallError: it did not succeed.
        """

    async def close(self) -> None:
        """Close the connections."""
