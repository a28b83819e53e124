"""The limits of an agent, and what it has used of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stigma.agent.v1.agent_execution_pb2 import Usage
from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.contracts.configuration import Configuration
from stigma.internal.v1.execution_pb2 import CarriedState, ConverseResponse
from stigma_orchestrator.agents.step import AgentFailedError, StepResult, model_call_name


class Budget:
    """Model calls, tokens and cost, counted over all runs of the workflow."""

    def __init__(self, limits: Configuration, carried: CarriedState) -> None:
        self._limits = limits
        self._output_error = ""
        self.steps = carried.steps
        """Number of model calls that were answered."""
        self.usage = Usage()
        self.usage.CopyFrom(carried.usage)
        self.usage_by_model: dict[str, Usage] = {}
        for model in carried.usage_by_model:
            self._of_model(model).CopyFrom(carried.usage_by_model[model])

    @property
    def last_step(self) -> str:
        """Name of the last model call; empty before the first."""
        return model_call_name(self.steps) if self.steps else ""

    def add(self, results: Iterable[StepResult]) -> None:
        """Count what steps used."""
        for result in results:
            self.steps += result.usage.model_calls
            _add(self.usage, result.usage)
            self._output_error = result.output_error

    def add_answer(self, model: str, answer: ConverseResponse) -> None:
        """Count what an answer used, by its model too."""
        self.steps += 1
        self._add_model_call(model, answer.usage)
        self._output_error = answer.output_error

    @property
    def limits(self) -> Configuration:
        """The limits."""
        return self._limits

    @property
    def used_steps(self) -> int:
        """Number of model calls that were answered, those of agents below included."""
        return max(self.steps, self.usage.model_calls)

    def add_sub_agent(self, used: Usage, by_model: Mapping[str, Usage]) -> None:
        """Count what an agent below has used."""
        _add(self.usage, used)
        for model, usage in by_model.items():
            _add(self._of_model(model), usage)

    def add_tool_calls(self, model: str, count: int) -> None:
        """Count the tool calls of one answer, before any of them starts.

        Raises:
            AgentFailedError: they are more than the limit leaves.
        """
        used, limit = self.usage.tool_calls, self._limits.tool_calls
        if used + count > limit:
            raise self._exceeded(
                FailureReason.FAILURE_REASON_TOOL_CALL_LIMIT,
                f"the answer has {_counted(count, 'tool call')}, after {_counted(used, 'call')}; "
                f"the limit is {limit}",
            )
        self.usage.tool_calls += count
        self._of_model(model).tool_calls += count

    def add_summary(self, model: str, usage: Usage) -> None:
        """Count what a summary has used: a model call, and no step."""
        self._add_model_call(model, usage)

    def _add_model_call(self, model: str, usage: Usage) -> None:
        used = Usage()
        used.CopyFrom(usage)
        used.model_calls = 1
        _add(self.usage, used)
        _add(self._of_model(model), used)

    def add_report(self, used: Usage) -> None:
        """Count what a step has used that the agent's own workflow tells of."""
        self.steps += used.model_calls
        _add(self.usage, used)

    def overrun(self, name: str) -> AgentFailedError | None:
        """Return the failure of the limit that a step has passed that was told of, or None.

        Args:
            name: of the step.
        """
        limits, usage = self._limits, self.usage
        tokens = usage.input_tokens + usage.output_tokens
        for used, limit, what, reason in (
            (self.steps, limits.steps, "model calls", FailureReason.FAILURE_REASON_STEP_LIMIT),
            (tokens, limits.tokens, "tokens", FailureReason.FAILURE_REASON_TOKEN_LIMIT),
            (
                usage.tool_calls,
                limits.tool_calls,
                "tool calls",
                FailureReason.FAILURE_REASON_TOOL_CALL_LIMIT,
            ),
        ):
            if limit and used > limit:
                message = f"used {used} {what}, the limit is {limit}"
                return AgentFailedError(reason, message, step=name)
        if not limits.cost_usd or not (usage.cost_usd > limits.cost_usd or usage.unpriced_calls):
            return None
        cost = "a cost that is not known" if usage.unpriced_calls else f"${usage.cost_usd:.4f}"
        message = f"used {cost}, the limit is ${limits.cost_usd:.4f}"
        return AgentFailedError(FailureReason.FAILURE_REASON_COST_LIMIT, message, step=name)

    def tokens_left(self) -> int | None:
        """Return the tokens that the limit leaves; None without a limit."""
        if not self._limits.tokens:
            return None
        return self._limits.tokens - self.usage.input_tokens - self.usage.output_tokens

    def check(self) -> None:
        """Check that another model call is allowed.

        Raises:
            AgentFailedError: a limit is reached.
        """
        if (failure := self.failure()) is not None:
            raise failure

    def failure(self) -> AgentFailedError | None:
        """Return the failure of the limit that is reached, or None."""
        limits, usage = self._limits, self.usage
        tokens = usage.input_tokens + usage.output_tokens
        if self.used_steps >= limits.steps:
            within = f"within {_counted(limits.steps, 'model call')}"
            if self._output_error:
                return self._exceeded(
                    FailureReason.FAILURE_REASON_INVALID_OUTPUT,
                    f"no valid output {within}: {self._output_error}",
                )
            return self._exceeded(
                FailureReason.FAILURE_REASON_STEP_LIMIT,
                f"no answer {within}",
            )
        if limits.tokens and tokens >= limits.tokens:
            return self._exceeded(
                FailureReason.FAILURE_REASON_TOKEN_LIMIT,
                f"used {tokens} tokens, the limit is {limits.tokens}",
            )
        if limits.cost_usd and usage.cost_usd >= limits.cost_usd:
            return self._exceeded(
                FailureReason.FAILURE_REASON_COST_LIMIT,
                f"cost ${usage.cost_usd:.4f}, the limit is ${limits.cost_usd:.4f}",
            )
        if limits.cost_usd and usage.unpriced_calls:
            return self._exceeded(
                FailureReason.FAILURE_REASON_COST_LIMIT,
                f"the cost of a model call is not known, the limit is ${limits.cost_usd:.4f}",
            )
        return None

    def _of_model(self, model: str) -> Usage:
        return self.usage_by_model.setdefault(model, Usage())

    def _exceeded(self, reason: FailureReason.ValueType, message: str) -> AgentFailedError:
        return AgentFailedError(reason, message, step=self.last_step)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _add(total: Usage, used: Usage) -> None:
    for field, value in used.ListFields():
        setattr(total, field.name, getattr(total, field.name) + value)
