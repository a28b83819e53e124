"""The rules of approval policies."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta

import pytest

from stigma.agent.v1.agent_pb2 import (
    APPROVAL_REQUIREMENT_NEVER,
    APPROVAL_REQUIREMENT_REFUSE,
    AgentSpec,
    ApprovalPolicy,
    ApprovalRequirement,
    ApprovalRule,
    McpTool,
    Tool,
)
from stigma_api.errors import ApiError
from stigma_api.requests.approval_rules import check_approval, check_ruled_tools
from stigma_api.requests.violations import Violations


def check(rule: ApprovalRule) -> None:
    found = Violations()
    check_approval(found, "approval", ApprovalPolicy(rules=[rule]))
    found.raise_if_any()


def rule_that(require: ApprovalRequirement.ValueType) -> ApprovalRule:
    rule = ApprovalRule(require=require)
    rule.expire_after.FromTimedelta(timedelta(hours=1))
    return rule


def test_a_rule_that_asks_nobody_may_say_how_long_servers_wait_for_answers() -> None:
    check(rule_that(APPROVAL_REQUIREMENT_NEVER))
    with pytest.raises(ApiError, match=r"rules\[0\]\.expire_after"):
        check(rule_that(APPROVAL_REQUIREMENT_REFUSE))
    rule = rule_that(APPROVAL_REQUIREMENT_NEVER)
    rule.not_starter = True
    with pytest.raises(ApiError, match=r"rules\[0\]\.not_starter"):
        check(rule)


@pytest.mark.parametrize(
    ("glob", "problem"),
    [
        ("refund", ""),
        ("re*", ""),
        ("later_[ab]", ""),
        ("refnd", r"approval\.rules\[0\]\.tools\[0\]: is none of the agent's tools"),
        ("Refund", "is none of the agent's tools"),
    ],
)
def test_a_rule_names_tools_of_its_agent(glob: str, problem: str) -> None:
    spec = AgentSpec(tools=[Tool(name="refund")])
    spec.approval.rules.add(tools=[glob], require=APPROVAL_REQUIREMENT_REFUSE)
    found = Violations()
    check_ruled_tools(found, "approval", spec)
    with pytest.raises(ApiError, match=problem) if problem else nullcontext():
        found.raise_if_any()
    # What a server has is known when its tools are listed.
    spec.tools.add(mcp=McpTool(server="shop"))
    unknown = Violations()
    check_ruled_tools(unknown, "approval", spec)
    unknown.raise_if_any()
