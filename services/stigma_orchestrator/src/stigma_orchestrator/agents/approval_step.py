"""The rules of an agent's approval policy, evaluated for one call of a tool."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.protobuf.json_format import MessageToDict
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from stigma.agent.v1.agent_execution_pb2 import ToolCall, Usage
from stigma.agent.v1.agent_pb2 import ApprovalRequirement
from stigma.contracts import approvals, json_text, limits
from stigma.contracts.activities import RuleActivities
from stigma.internal.v1.execution_pb2 import EvaluateRulesRequest, RuleVerdict
from stigma_orchestrator.agents.step import StepContext, raise_if_stopped

_ATTEMPT_TIMEOUT = timedelta(seconds=10)
_TIMEOUT = timedelta(seconds=60)
_ATTEMPTS = 3


@dataclass(frozen=True)
class ApprovalStep:
    """Which rule is for a call, and what it asks for.

    Expressions are evaluated by the engine's worker, and what they say is in history: an engine of
    another release may say something else.
    """

    context: StepContext
    call: ToolCall
    usage: Usage

    async def run(self) -> tuple[int, ApprovalRequirement.ValueType]:
        """Return the index of the rule, or `approvals.NO_RULE`, and what is asked for."""
        found = list(approvals.candidates(self.context.spec.agent.approval, self.call.name))
        expressions = [rule.when for _, rule in found if rule.when]
        verdicts = await self._evaluate(expressions) if expressions else ()
        return approvals.choose(found, verdicts)

    async def _evaluate(self, expressions: list[str]) -> tuple[RuleVerdict.ValueType, ...]:
        """Return the verdicts of expressions; none where they cannot be evaluated."""
        value = json_text.compact(self._value())
        if len(value.encode()) > limits.MAX_RULE_VALUE_BYTES:
            return ()
        request = EvaluateRulesRequest(
            execution_id=self.context.execution_id, expressions=expressions, value_json=value
        )
        try:
            response = await workflow.execute_activity_method(
                RuleActivities.evaluate_rules,
                request,
                activity_id=f"rules-{self.call.call_id}",
                task_queue=self.context.queues.engine,
                start_to_close_timeout=_ATTEMPT_TIMEOUT,
                schedule_to_close_timeout=_TIMEOUT,
                retry_policy=RetryPolicy(maximum_attempts=_ATTEMPTS),
            )
        except ActivityError as error:
            raise_if_stopped(error)
            workflow.logger.warning("rules_not_evaluated", extra={"error": type(error).__name__})
            return ()
        return tuple(response.verdicts)

    def _value(self) -> dict[str, Any]:
        spec = self.context.spec
        return {
            "arguments": json_text.parse(self.call.arguments_json),
            "tool": self.call.name,
            "agent": spec.agent_id,
            "caller": MessageToDict(spec.caller, preserving_proto_field_name=True),
            "principal": spec.principal,
            "labels": dict(spec.labels),
            "usage": {
                field.name: getattr(self.usage, field.name) for field in Usage.DESCRIPTOR.fields
            },
        }
