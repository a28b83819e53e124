"""Expressions of agents' approval rules, checked by the engine where it is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stigma.agent.v1.agent_pb2 import Agent
from stigma.contracts.rule_expressions import checking_task, inner_expression, with_place
from stigma_cli.documents import can_check, problems_of
from stigma_cli.violations import Violation

_HEAD = {"dsl": "1.0.0", "namespace": "rules", "name": "rules", "version": "1.0.0"}


@dataclass(frozen=True)
class _Expression:
    agent: int
    field: str
    text: str
    """Without its `${}`."""


def broken_expressions(agents: Sequence[Agent]) -> list[tuple[int, Violation]]:
    """Return what keeps expressions from being evaluated, each with the index of its agent.

    All are checked in one document, one task each: the engine takes a second to start.

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
    tasks = [
        json.dumps(checking_task(f"rule{at}", each.text)) for at, each in enumerate(expressions)
    ]
    # A line each, which tells the task of a problem.
    document = f'{{"document": {json.dumps(_HEAD)}, "do": [\n' + ",\n".join(tasks) + "\n]}"
    for problem in problems_of(document).shown:
        if 0 <= problem.line - 2 < len(tasks):
            found, task = expressions[problem.line - 2], tasks[problem.line - 2]
            message = with_place(problem.message, task, problem.column, found.text)
            yield found.agent, Violation(found.field, message)
