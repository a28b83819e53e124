"""The rules of an agent's approval policy. Its expressions are checked elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from stigma.agent.v1.agent_pb2 import (
    APPROVAL_REQUIREMENT_NEVER,
    APPROVAL_REQUIREMENT_REFUSE,
    AgentSpec,
    ApprovalExpiry,
    ApprovalPolicy,
    ApprovalRequirement,
    ApprovalRule,
)
from stigma.contracts import limits
from stigma_api.requests.violations import Violations

_MAX_GLOBS = 64
_MAX_GLOB_BYTES = 128
_GLOB_CHARACTERS = frozenset("*?[")
_MAX_EXPRESSION_BYTES = 16 * 1024
_OF_APPROVALS = (
    "approvers",
    "not_starter",
    "allow_edit",
    "allow_remember",
    "expire_after",
    "on_expiry",
)


def check_approval(found: Violations, at: str, policy: ApprovalPolicy) -> None:
    """Check an approval policy."""
    fine = len(policy.rules) <= limits.MAX_APPROVAL_RULES
    found.require(fine, f"{at}.rules", f"at most {limits.MAX_APPROVAL_RULES} rules")
    for index, rule in enumerate(policy.rules if fine else ()):
        _rule(found, f"{at}.rules[{index}]", rule)


def check_ruled_tools(found: Violations, at: str, spec: AgentSpec) -> None:
    """Check that each tool a rule names is the agent's: a misspelt name would rule nothing.

    Which tools MCP servers have is not known here; globs may be for tools that come later.
    """
    if any(tool.HasField("mcp") for tool in spec.tools):
        return
    names = {tool.name for tool in spec.tools}
    for index, rule in enumerate(spec.approval.rules[: limits.MAX_APPROVAL_RULES]):
        for number, glob in enumerate(rule.tools[:_MAX_GLOBS]):
            fine = glob in names or not _GLOB_CHARACTERS.isdisjoint(glob)
            found.require(
                fine, f"{at}.rules[{index}].tools[{number}]", "is none of the agent's tools"
            )


def _rule(found: Violations, at: str, rule: ApprovalRule) -> None:
    _globs(found, f"{at}.tools", rule.tools)
    _globs(found, f"{at}.approvers", rule.approvers)
    found.size(f"{at}.when", rule.when, _MAX_EXPRESSION_BYTES)
    known = rule.require in ApprovalRequirement.values()
    found.require(known, f"{at}.require", "is not known to this release")
    known = rule.on_expiry in ApprovalExpiry.values()
    found.require(known, f"{at}.on_expiry", "is not known to this release")
    found.duration(f"{at}.expire_after", rule, "expire_after", longest=limits.MAX_INPUT_TIMEOUT)
    if rule.require in {APPROVAL_REQUIREMENT_NEVER, APPROVAL_REQUIREMENT_REFUSE}:
        given = {field.name for field, _ in rule.ListFields()}
        if rule.require == APPROVAL_REQUIREMENT_NEVER:
            given.discard("expire_after")  # of what MCP servers ask
        for name in _OF_APPROVALS:
            found.require(name not in given, f"{at}.{name}", "is only for a rule that asks people")


def _globs(found: Violations, at: str, globs: Sequence[str]) -> None:
    fine = len(globs) <= _MAX_GLOBS
    found.require(fine, at, f"at most {_MAX_GLOBS} globs")
    for index, glob in enumerate(globs if fine else ()):
        fine = 0 < len(glob.encode()) <= _MAX_GLOB_BYTES
        found.require(fine, f"{at}[{index}]", f"1 to {_MAX_GLOB_BYTES} bytes")
