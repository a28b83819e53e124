"""Structured output: a model's text checked against the output schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import jsonschema_rs

from ai_worker.calls.failures import CallError
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_INVALID_REQUEST
from stigma.contracts import json_text, limits
from stigma.contracts.schema_cost import CostError, SchemaCost

_FENCE = re.compile(r"\A```[a-zA-Z]*[ \t]*\n(.*)\n[ \t]*```\Z", re.DOTALL)
_MAX_PLACE = 120


@dataclass(frozen=True)
class Output:
    """Either JSON text that satisfies the schema, or an error of one line."""

    json: str = ""
    error: str = ""


class OutputSchema:
    """A JSON Schema that answers, or the arguments of a tool's calls, must satisfy."""

    def __init__(self, text: str, subject: str = "the output") -> None:
        """Parse the schema.

        Args:
            text: of the schema.
            subject: what is checked, for the errors.

        Raises:
            CallError: it is not a JSON Schema, or refers to another document.
        """
        self._subject = subject
        try:
            self.document: dict[str, Any] = _object(json.loads(text))
            self._cost = SchemaCost(self.document)
            self._validator = jsonschema_rs.validator_for(
                self.document,
                retriever=_refuse_fetch,
                pattern_options=jsonschema_rs.FancyRegexOptions(
                    backtrack_limit=limits.MAX_PATTERN_BACKTRACKS
                ),
            )
        except CostError as error:
            raise CallError(FAILURE_REASON_INVALID_REQUEST, f"{subject} schema {error}") from None
        except (ValueError, RecursionError, jsonschema_rs.ReferencingError):
            raise CallError(
                FAILURE_REASON_INVALID_REQUEST,
                f"{subject} schema is not a valid JSON Schema",
            ) from None

    @property
    def _broken(self) -> str:
        return f"{self._subject} breaks its schema, in too many alternatives to tell where"

    @property
    def instructions(self) -> str:
        """Instructions for an output that is no object, which no provider's own way takes."""
        schema = json_text.compact(self.document)
        return (
            "Answer with one JSON value and nothing else: no explanation, no code fence. "
            f"It must satisfy this JSON Schema:\n{schema}"
        )

    def check(self, text: str) -> Output:
        """Check an answer against the schema. The error names place and rule, never content."""
        try:
            value = json.loads(_unfence(text), parse_constant=json_text.refuse_constant)
            describable = self._cost.check(value)
            if not self._validator.is_valid(value):
                return Output(error=self._violation(value) if describable else self._broken)
            return Output(json=_canonical(value))
        except CostError as problem:
            return Output(error=f"checking {self._subject} {problem}")
        except json.JSONDecodeError as problem:
            return Output(
                error=f"{self._subject} is not JSON: line {problem.lineno}, column {problem.colno}"
            )
        except (ValueError, RecursionError):
            return Output(
                error=f"{self._subject} is JSON that cannot be carried: a number, a string or "
                "the nesting is out of range"
            )

    def _violation(self, value: Any) -> str:
        # Not `iter_errors`, which collects all errors before the first.
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return self._describe(error)
        return self._broken

    def _describe(self, error: jsonschema_rs.ValidationError) -> str:
        """Name the place and the rule; keys that the schema does not name are content."""
        known = set(_keys(self.document))
        place = "$" + "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" if step in known else ".*"
            for step in error.instance_path
        )
        if len(place) > _MAX_PLACE:
            place = f"{place[:_MAX_PLACE]}…"
        rule = error.schema_path[-1] if error.schema_path else "false"
        missing = getattr(error.kind, "property", None) if rule == "required" else None
        problem = f"{self._subject} breaks the rule {rule!r} of its schema at {place}"
        return f"{problem}: {missing} is missing" if missing else problem


def _object(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one kind of error for a bad schema
    return document


def _refuse_fetch(uri: str) -> NoReturn:
    raise ValueError(f"refused to fetch {uri}")


def _unfence(text: str) -> str:
    text = text.strip()
    fenced = _FENCE.match(text)
    return fenced[1] if fenced else text


def _canonical(value: Any) -> str:
    text = json_text.compact(value, sort_keys=True, allow_nan=False)
    text.encode()  # a lone surrogate is JSON but not Unicode: a ValueError
    return text


def _keys(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            yield key
            yield from _keys(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _keys(value)
