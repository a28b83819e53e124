"""Has the workflow engine check the expressions of an agent's approval rules."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from stigma.agent.v1.agent_pb2 import AgentSpec
from stigma.contracts.rule_expressions import CheckingDocument, inner_expression
from stigma_api.definitions.document_check import TIMEOUT, DocumentChecker
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
            timeout: of each run of the engine.
            refused: rules, or expressions, that are not checked: too many, too long.

        Raises:
            ApiError: INVALID_ARGUMENT, with the rules and their problems; UNAVAILABLE, no engine
                answered in time.
        """
        expressions = {
            f"{at}.approval.rules[{index}].when": inner_expression(rule.when)
            for index, rule in enumerate(agent.approval.rules)
            if rule.when
        }
        checked = {
            field: each
            for field, each in expressions.items()
            if not (refused and refused.has(field))
        }
        if checked and not await self._check_all(checked, timeout):
            await self._check_each(checked, timeout)

    async def _check_all(self, expressions: Mapping[str, str], timeout: timedelta) -> bool:
        """Check expressions by one run; False: that does not tell what is wrong with which.

        So it is with an engine up to 0.2.0, which tells one mistake, and where they are too large
        together.
        """
        fields, document = list(expressions), CheckingDocument(list(expressions.values()))
        found = Violations()
        for problem in await self._documents.problems_of(document.text, timeout):
            placed = document.place(problem.line, problem.column, problem.message)
            if placed is None:
                return False
            index, message = placed
            found.add(fields[index], message)
        found.raise_if_any()
        return True

    async def _check_each(self, expressions: Mapping[str, str], timeout: timedelta) -> None:
        found = Violations()
        for field, expression in expressions.items():
            document = CheckingDocument([expression])
            for problem in await self._documents.problems_of(document.text, timeout):
                placed = document.place(problem.line, problem.column, problem.message)
                found.add(field, problem.message if placed is None else placed[1])
        found.raise_if_any()
