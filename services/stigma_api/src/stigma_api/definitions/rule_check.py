"""Has the workflow engine check the expressions of an agent's approval rules."""

from __future__ import annotations

import json
from datetime import timedelta

from stigma.agent.v1.agent_pb2 import AgentSpec
from stigma.contracts.rule_expressions import checking_task, inner_expression, with_place
from stigma_api.definitions.document_check import TIMEOUT, DocumentChecker, DocumentProblem
from stigma_api.requests.violations import Violations


class RuleChecker:
    """Checks expressions with the engine, as those of a document: it has their language."""

    def __init__(self, documents: DocumentChecker) -> None:
        self._documents = documents

    async def check(
        self,
        agent: AgentSpec,
        at: str,
        timeout: timedelta = TIMEOUT,
        refused: Violations | None = None,
    ) -> None:
        """Check that the expressions of an agent's rules can be evaluated.

        Args:
            agent: otherwise valid, but for what is refused.
            at: its path.
            timeout: of each.
            refused: rules, or expressions, that are not checked: too many, too long.

        Raises:
            ApiError: INVALID_ARGUMENT, with the rules and their problems; UNAVAILABLE, no engine
                answered in time.
        """
        found = Violations()
        for index, rule in enumerate(agent.approval.rules):
            field = f"{at}.approval.rules[{index}].when"
            if rule.when and not (refused and refused.has(field)):
                expression = inner_expression(rule.when)
                document = document_of(expression)
                for problem in await self._documents.problems_of(document, timeout):
                    found.add(field, described(problem, document, expression))
        found.raise_if_any()


def document_of(expression: str) -> str:
    """Return a document, on one line, that has an expression to be checked."""
    return json.dumps(
        {
            "document": {"dsl": "1.0.0", "namespace": "rules", "name": "rule", "version": "1.0.0"},
            "do": [checking_task("rule", expression)],
        }
    )


def described(problem: DocumentProblem, document: str, expression: str) -> str:
    """Return a problem with its place in the expression, where it has one there."""
    if problem.line != 1:
        return problem.message
    return with_place(problem.message, document, problem.column, expression)
