"""The budget of a tree of agents: shares are reserved before an agent starts, the rest returns."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TypeVar

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, Usage
from stigma.agent.v1.agent_pb2 import AgentLimits, FailureReason
from stigma.contracts import errors, limits
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput
from stigma_orchestrator.agents.budget import Budget

N = TypeVar("N", int, float)


class NothingLeftError(Exception):
    """Nothing is left for an agent that is called."""

    def __init__(self, reason: FailureReason.ValueType, message: str) -> None:
        super().__init__(message)
        self.reason = errors.reason_name(reason)


@dataclass(frozen=True)
class Share:
    """Part of the caller's budget that a called agent may use."""

    limits: AgentLimits
    sub_agents: int
    """Executions of agents below it."""


class Ledger:
    """Shares of an execution's budget, by the calls that they are reserved for."""

    def __init__(self, request: AgentWorkflowInput, budget: Budget) -> None:
        lineage = request.lineage
        is_known = request.HasField("lineage")
        self.depth_left: int = lineage.depth_left if is_known else limits.DEFAULT_AGENT_DEPTH
        """Most levels of agents below this one."""
        self.places = asyncio.Semaphore(limits.MAX_SUB_AGENTS_AT_ONCE)
        """Agents that may run at once."""
        self._sub_agents = lineage.sub_agents if is_known else limits.DEFAULT_SUB_AGENTS
        self._budget = budget
        self._shares: dict[str, Share] = {}

    def share(self, call: str) -> Share:
        """Return the share that is reserved for a call."""
        return self._shares[call]

    def reserve(self, call: str, most: AgentLimits, at_once: int) -> None:
        """Reserve the share of a call.

        Args:
            call: its id.
            most: that it may have; 0 is no such limit.
            at_once: calls of agents in one answer, which share equally what is left of it.

        Raises:
            NothingLeftError: too little is left.
        """
        # Those of the batch that have theirs already no longer count: the others share the rest.
        sharing = max(at_once - len(self._shares), 1)
        if self.depth_left < 1:
            message = "agents call agents too many levels deep already."
            raise NothingLeftError(FailureReason.FAILURE_REASON_DEPTH_LIMIT, message)
        used = self._budget.usage.sub_agents + sum(1 + s.sub_agents for s in self._shares.values())
        below = (self._sub_agents - used) // sharing - 1
        if below < 0:
            message = f"all {self._sub_agents} executions of agents are used."
            raise NothingLeftError(FailureReason.FAILURE_REASON_CHILD_LIMIT, message)
        self._shares[call] = Share(self._limits(most, sharing), below)

    def settle(self, call: str, ended: AgentExecution) -> None:
        """Count what an agent has used, and return the rest of its share."""
        del self._shares[call]
        used = Usage()
        used.CopyFrom(ended.status.usage)
        used.sub_agents += 1
        self._budget.add_sub_agent(used, dict(ended.status.usage_by_model))

    def settle_lost(self, call: str) -> None:
        """Count the whole share of a call as used, unless it is settled: nobody knows better."""
        share = self._shares.pop(call, None)
        if share is None:
            return
        used = Usage(
            model_calls=share.limits.steps,
            tool_calls=share.limits.tool_calls,
            input_tokens=share.limits.tokens,
            cost_usd=share.limits.cost_usd,
            sub_agents=1 + share.sub_agents,
        )
        self._budget.add_sub_agent(used, {})

    def _limits(self, most: AgentLimits, sharing: int) -> AgentLimits:
        reserved = [share.limits for share in self._shares.values()]
        own, usage = self._budget.limits, self._budget.usage
        # One model call stays with the agent that calls: it has to read the result.
        steps = own.steps - self._budget.used_steps - sum(each.steps for each in reserved) - 1
        calls = own.tool_calls - usage.tool_calls - sum(each.tool_calls for each in reserved)
        share = AgentLimits(
            steps=_part(steps, sharing, most.steps),
            tool_calls=_part(calls, sharing, most.tool_calls),
        )
        self._require(share.steps, FailureReason.FAILURE_REASON_STEP_LIMIT, "model calls")
        self._require(share.tool_calls, FailureReason.FAILURE_REASON_TOOL_CALL_LIMIT, "tool calls")
        share.tokens, share.cost_usd = most.tokens, most.cost_usd
        if own.tokens:
            tokens = own.tokens - usage.input_tokens - usage.output_tokens
            share.tokens = _part(
                tokens - sum(each.tokens for each in reserved), sharing, most.tokens
            )
            self._require(share.tokens, FailureReason.FAILURE_REASON_TOKEN_LIMIT, "tokens")
        if own.cost_usd:
            cost = own.cost_usd - usage.cost_usd - sum(each.cost_usd for each in reserved)
            share.cost_usd = min(cost / sharing, most.cost_usd or cost)
            self._require(share.cost_usd, FailureReason.FAILURE_REASON_COST_LIMIT, "US dollars")
        return share

    def _require(self, share: float, reason: FailureReason.ValueType, what: str) -> None:
        if share <= 0:
            raise NothingLeftError(reason, f"no {what} are left for another agent.")


def _part(left: int, sharing: int, most: int) -> int:
    part = -(-left // sharing)  # rounded up: those that come later share what is left then
    return min(part, most) if most else part
