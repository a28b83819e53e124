"""Expressions of approval rules: what the engine says of them, at places in the expression."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stigma.agent.v1.agent_pb2 import Agent, AgentSpec, ApprovalPolicy, ApprovalRule
from stigma.contracts.executions import Kind
from stigma_api.access.principals import LOCAL, Principal
from stigma_api.definitions.document_check import DocumentChecker, DocumentProblem
from stigma_api.definitions.rule_check import RuleChecker, described, document_of
from stigma_api.definitions.service import DefinitionService
from stigma_api.errors import ApiError
from stigma_api.requests.validation import check_agent
from stigma_api.requests.violations import Violations

RULES = "agent.spec.approval.rules"


class EngineCounter(DocumentChecker):
    """Counts what an engine would check."""

    def __init__(self) -> None:
        self.checked: list[str] = []

    async def problems_of(self, document: str, timeout: timedelta) -> list[DocumentProblem]:
        self.checked.append(document)
        return []


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        ("agent.name", [".a", ".b"]),
        (f"{RULES}[0].when", [".b"]),
        (RULES, []),
        ("agent.spec", []),
    ],
)
async def test_the_engine_checks_no_expression_that_is_refused(
    refused: str, expected: list[str]
) -> None:
    found, engine = Violations(), EngineCounter()
    found.add(refused, "too many")
    rules = [ApprovalRule(when=".a"), ApprovalRule(when=".b")]
    spec = AgentSpec(approval=ApprovalPolicy(rules=rules))
    await RuleChecker(engine).check(spec, "agent.spec", timedelta(seconds=2), found)
    assert engine.checked == [document_of(each) for each in expected]


@pytest.mark.parametrize(
    ("spec", "is_checked"),
    [
        (AgentSpec(model="no model"), True),
        (AgentSpec(model="no model", env=["no name"] * 64), True),
        (AgentSpec(model="a:b", allowed_models=[""] * 60, env=["no name"] * 64), False),
        (AgentSpec(model="a:b", instructions="x" * 2**20), False),
    ],
)
async def test_what_is_very_wrong_is_not_checked_further(spec: AgentSpec, is_checked: bool) -> None:
    checks = []

    async def check_further(_principal: Principal, agent: Agent, _found: Violations) -> None:
        checks.append(agent)

    registry = cast("Any", SimpleNamespace(kind=Kind.AGENT))
    service: DefinitionService[Agent] = DefinitionService(registry, check_agent, check_further)
    with pytest.raises(ApiError, match=r"agent\.spec"):
        await service.apply(LOCAL, Agent(name="a", spec=spec), validate_only=True)
    assert bool(checks) is is_checked


@pytest.mark.parametrize(
    ("expression", "at", "place"),
    [
        (".a ]", "]", "line 1, column 4"),
        ('.a == "ö\n🙂"\n  and .b ]', "]", "line 3, column 10"),
        (".a +", "", "line 1, column 5"),
        ('"${ x" ]', "]", "line 1, column 8"),
    ],
)
def test_a_problem_has_its_place_in_the_expression(expression: str, at: str, place: str) -> None:
    document = document_of(expression)
    column = (document.index(at, document.index("${")) if at else document.rindex(" }")) + 1
    problem = DocumentProblem(1, column, "/do/0/rule/set/value", "unexpected")
    assert described(problem, document, expression) == f"unexpected at {place}"


def test_a_problem_of_the_whole_has_no_place() -> None:
    document = document_of(".a")
    whole = DocumentProblem(1, 1, "", "too large")
    assert described(whole, document, ".a") == "too large"
    assert described(DocumentProblem(0, 0, "", "of old"), document, ".a") == "of old"
