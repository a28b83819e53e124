"""The activity that evaluates the expressions of approval rules."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio import activity
from typing_extensions import override

from stigma.contracts import json_text
from stigma.contracts.activities import EVALUATE_RULES, RuleActivities
from stigma.internal.v1.execution_pb2 import (
    RULE_VERDICT_FAILED,
    RULE_VERDICT_FALSE,
    RULE_VERDICT_TRUE,
    EvaluateRulesRequest,
    EvaluateRulesResponse,
    RuleVerdict,
)
from zigflow_worker.expressions import (
    Budget,
    ExpressionError,
    ExpressionSyntaxError,
    compile_expression,
)

MAX_STEPS = 10_000
"""Steps of the evaluation of one expression."""


class RuleEvaluator(RuleActivities):
    """Evaluates expressions, each with a budget of its own."""

    @override
    @activity.defn(name=EVALUATE_RULES)
    async def evaluate_rules(self, request: EvaluateRulesRequest) -> EvaluateRulesResponse:
        verdicts = await asyncio.to_thread(_verdicts, request)
        return EvaluateRulesResponse(verdicts=verdicts)


def _verdicts(request: EvaluateRulesRequest) -> list[RuleVerdict.ValueType]:
    value = json_text.parse(request.value_json)
    return [_verdict(expression, value) for expression in request.expressions]


def _verdict(source: str, value: Any) -> RuleVerdict.ValueType:
    try:
        found = compile_expression(source, frozenset()).evaluate(value, {}, Budget(MAX_STEPS))
    except (ExpressionError, ExpressionSyntaxError):
        return RULE_VERDICT_FAILED
    return RULE_VERDICT_FALSE if found is None or found is False else RULE_VERDICT_TRUE
