"""Expressions of approval rules: what the engine says of them, at places in the expression."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stigma.agent.v1.agent_pb2 import Agent, AgentSpec, ApprovalPolicy, ApprovalRule
from stigma.contracts import limits
from stigma.contracts.executions import Kind
from stigma.contracts.rule_expressions import CheckingDocument
from stigma_api.access.principals import LOCAL, Principal
from stigma_api.definitions.document_check import DocumentChecker, DocumentProblem
from stigma_api.definitions.rule_check import RuleChecker
from stigma_api.definitions.service import DefinitionService
from stigma_api.errors import ApiError
from stigma_api.requests.validation import check_agent
from stigma_api.requests.violations import Violations

RULES = "agent.spec.approval.rules"
_TIMEOUT = timedelta(seconds=2)


class FakeEngine(DocumentChecker):
    """Keeps what an engine would check, and tells of each of its documents what it is given."""

    def __init__(self, *answers: list[DocumentProblem]) -> None:
        self.checked: list[str] = []
        self._answers = list(answers)

    async def problems_of(self, document: str, timeout: timedelta) -> list[DocumentProblem]:
        self.checked.append(document)
        return self._answers.pop(0) if self._answers else []


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
    found, engine = Violations(), FakeEngine()
    found.add(refused, "too many")
    await RuleChecker(engine).check(with_rules(".a", ".b"), "agent.spec", _TIMEOUT, found)
    assert engine.checked == ([CheckingDocument(expected).text] if expected else [])


def with_rules(*expressions: str) -> AgentSpec:
    rules = [ApprovalRule(when=each) for each in expressions]
    return AgentSpec(approval=ApprovalPolicy(rules=rules))


async def violations(engine: FakeEngine, spec: AgentSpec) -> list[tuple[str, str]]:
    with pytest.raises(ApiError) as refused:
        await RuleChecker(engine).check(spec, "agent.spec", _TIMEOUT)
    return list(refused.value.violations)


async def test_one_run_of_the_engine_checks_all_expressions() -> None:
    document = CheckingDocument([".fine", ".a ]", ".b +"])
    column = document.text.splitlines()[2].index("]") + 1
    told = [
        DocumentProblem(3, column, "/do/1/rule1/set/value", "unexpected ']'"),
        DocumentProblem(4, 1, "/do/2", "is strange"),
        DocumentProblem(4, 2, "/do/2", "in two ways"),
    ]
    engine = FakeEngine(told)
    spec = with_rules(".fine", "${.a ]}", "", ".b +")
    assert await violations(engine, spec) == [
        (f"{RULES}[1].when", "unexpected ']' at line 1, column 4"),
        (f"{RULES}[3].when", "is strange"),
        (f"{RULES}[3].when", "in two ways"),
    ]
    assert engine.checked == [document.text]


@pytest.mark.parametrize(
    "of_all",
    [
        pytest.param(DocumentProblem(0, 0, "", "invalid"), id="of an engine up to 0.2.0"),
        pytest.param(DocumentProblem(1, 1, "", "too large"), id="of the whole document"),
        pytest.param(
            DocumentProblem(3, 13, "/do/1/rule1/set", f"{limits.DOCUMENT_TOO_LARGE}: up to here"),
            id="of those up to one",
        ),
    ],
)
async def test_each_is_checked_alone_where_it_is_not_told_which_is_wrong(
    of_all: DocumentProblem,
) -> None:
    old, new = DocumentProblem(0, 0, "", "first"), DocumentProblem(2, 1, "/do/0", "second")
    engine = FakeEngine([of_all], [old], [], [new])
    assert await violations(engine, with_rules(".a", ".b", ".c")) == [
        (f"{RULES}[0].when", "first"),
        (f"{RULES}[2].when", "second"),
    ]
    alone = [CheckingDocument([each]).text for each in (".a", ".b", ".c")]
    assert engine.checked == [CheckingDocument([".a", ".b", ".c"]).text, *alone]


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
    document = CheckingDocument([".fine", expression])
    line = document.text.splitlines()[2]
    column = (line.index(at, line.index("${")) if at else line.rindex(" }")) + 1
    assert document.place(3, column, "unexpected") == (1, f"unexpected at {place}")


def test_a_problem_of_the_whole_has_no_place() -> None:
    document = CheckingDocument([".a"])
    assert document.place(2, 1, "strange") == (0, "strange")
    assert document.place(1, 1, "too large") is None
    assert document.place(0, 0, "of old") is None
