"""Has the workflow engine check the expressions of an agent's approval rules."""

from __future__ import annotations

import json

import grpc
from google.rpc.error_details_pb2 import BadRequest

from stigma.agent.v1.agent_pb2 import AgentSpec
from stigma_api import errors
from stigma_api.definitions.document_check import DocumentChecker


class RuleChecker:
    """Checks expressions with the engine, as those of a document: it has their language."""

    def __init__(self, documents: DocumentChecker) -> None:
        self._documents = documents

    async def check(self, agent: AgentSpec, at: str) -> None:
        """Check that the expressions of an agent's rules can be evaluated.

        Args:
            agent: otherwise valid.
            at: its path.

        Raises:
            ApiError: INVALID_ARGUMENT, with the rule and the problem; UNAVAILABLE, no engine
                answered in time.
        """
        for index, rule in enumerate(agent.approval.rules):
            if not rule.when:
                continue
            try:
                await self._documents.check_text(_document(rule.when))
            except errors.ApiError as error:
                if error.code is not grpc.StatusCode.INVALID_ARGUMENT:
                    raise
                field = f"{at}.approval.rules[{index}].when"
                raise errors.invalid_argument([(field, _problem(error))]) from None


def _document(expression: str) -> str:
    text = expression.strip()
    inner = text[2:-1] if text.startswith("${") and text.endswith("}") else text
    return json.dumps(
        {
            "document": {"dsl": "1.0.0", "namespace": "rules", "name": "rule", "version": "1.0.0"},
            "do": [{"rule": {"set": {"value": f"${{ {inner} }}"}}}],
        }
    )


def _problem(error: errors.ApiError) -> str:
    described = [
        violation.description
        for detail in error.details
        if isinstance(detail, BadRequest)
        for violation in detail.field_violations
    ]
    return described[0] if described else error.message
