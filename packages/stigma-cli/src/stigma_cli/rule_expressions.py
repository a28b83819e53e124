"""Expressions of agents' approval rules, checked by the engine where it is installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stigma.agent.v1.agent_pb2 import Agent
from stigma.contracts.rule_expressions import CheckingDocument, inner_expression
from stigma_cli.documents import can_check, problems_of_each
from stigma_cli.violations import Violation


@dataclass(frozen=True)
class _Expression:
    agent: int
    field: str
    text: str
    """Without its `${}`."""


def broken_expressions(agents: Sequence[Agent]) -> list[tuple[int, Violation]]:
    """Return what keeps expressions from being evaluated, each with the index of its agent.

    Raises:
        CliError: the engine cannot check anything.
    """
    expressions = [
        _Expression(at, f"agent.spec.approval.rules[{number}].when", inner_expression(rule.when))
        for at, agent in enumerate(agents)
        for number, rule in enumerate(agent.spec.approval.rules)
        if rule.when
    ]
    if not expressions or not can_check():
        return []
    return list(_violations(expressions))


def _violations(expressions: Sequence[_Expression]) -> Iterator[tuple[int, Violation]]:
    documents = [CheckingDocument([each.text]) for each in expressions]
    problems = problems_of_each([each.text for each in documents])
    for expression, document, found in zip(expressions, documents, problems, strict=True):
        for problem in found.shown:
            placed = document.place(problem.line, problem.column, problem.message)
            message = problem.message if placed is None else placed[1]
            yield expression.agent, Violation(expression.field, message)
