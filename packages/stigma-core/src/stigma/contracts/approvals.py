"""Approval policies of agents: which rule is for a call, and what a rule asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import timedelta

from stigma.agent.v1.agent_pb2 import (
    APPROVAL_REQUIREMENT_ALWAYS,
    ApprovalPolicy,
    ApprovalRequirement,
    ApprovalRule,
)
from stigma.contracts import json_text, limits
from stigma.contracts.globs import matches_any
from stigma.internal.v1.execution_pb2 import RULE_VERDICT_FALSE, RULE_VERDICT_TRUE, RuleVerdict

NO_RULE = -1
"""Index of the rule of a call that no rule is for."""


def candidates(policy: ApprovalPolicy, tool: str) -> Iterator[tuple[int, ApprovalRule]]:
    """Yield the rules that may be for a call of this tool, with their indices, in order.

    The last one is for it in any case, unless it has an expression.
    """
    for index, rule in enumerate(policy.rules):
        if not rule.tools or matches_any(tool, rule.tools):
            yield index, rule
            if not rule.when:
                return


def choose(
    found: Sequence[tuple[int, ApprovalRule]], verdicts: Sequence[RuleVerdict.ValueType]
) -> tuple[int, ApprovalRequirement.ValueType]:
    """Return the index of the rule that is for a call, or NO_RULE, and what is asked for.

    Args:
        found: from `candidates`.
        verdicts: of their expressions, in order; one that is missing has failed.
    """
    pending = list(verdicts)
    for index, rule in found:
        if not rule.when:
            return index, requirement(rule)
        verdict = pending.pop(0) if pending else None
        if verdict == RULE_VERDICT_TRUE:
            return index, requirement(rule)
        if verdict != RULE_VERDICT_FALSE:
            return index, APPROVAL_REQUIREMENT_ALWAYS
    return NO_RULE, APPROVAL_REQUIREMENT_ALWAYS


def requirement(rule: ApprovalRule) -> ApprovalRequirement.ValueType:
    """Return what a rule asks for; one that says nothing asks for an approval."""
    return rule.require or APPROVAL_REQUIREMENT_ALWAYS


def rule_at(policy: ApprovalPolicy, index: int) -> ApprovalRule:
    """Return the rule of an index; for NO_RULE one that asks for an approval."""
    return policy.rules[index] if 0 <= index < len(policy.rules) else ApprovalRule()


def expires_after(rule: ApprovalRule) -> timedelta:
    """Return how long a call waits for an approval."""
    return rule.expire_after.ToTimedelta() or limits.DEFAULT_INPUT_TIMEOUT


def digest(arguments_json: str) -> str:
    """Return the SHA-256, in hex, of arguments as JSON text without blanks and with sorted keys.

    Raises:
        ValueError: they are not JSON.
    """
    canonical = json_text.compact(json_text.parse(arguments_json), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
