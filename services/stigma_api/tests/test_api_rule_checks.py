"""Expressions of approval rules: what the engine says of them, at places in the expression."""

from __future__ import annotations

import pytest

from stigma_api.definitions.document_check import DocumentProblem
from stigma_api.definitions.rule_check import described, document_of


@pytest.mark.parametrize(
    ("expression", "at", "place"),
    [
        (".a ]", "]", "line 1, column 4"),
        ('.a == "ö\n🙂"\n  and .b ]', "]", "line 3, column 10"),
        (".a +", "", "line 1, column 5"),
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
