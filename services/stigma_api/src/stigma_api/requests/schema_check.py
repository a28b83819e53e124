"""Values that people give, checked against the schema of what they answer."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import jsonschema_rs

from stigma.contracts import limits
from stigma.contracts.schema_cost import CostError, SchemaCost

_LONGEST_PROBLEM = 300
_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=limits.MAX_PATTERN_BACKTRACKS)


def problem_of(schema_text: str, value: Any) -> str:
    """Return what is wrong with a value; "" for nothing, or a schema that is none.

    Args:
        schema_text: JSON Schema as JSON text; a model may have written it.
        value: as parsed from JSON.
    """
    try:
        schema = json.loads(schema_text)
        cost = SchemaCost(schema)
        validator = jsonschema_rs.validator_for(
            schema, retriever=_refuse_fetch, pattern_options=_PATTERNS
        )
    except (CostError, ValueError, TypeError, RecursionError, jsonschema_rs.ReferencingError):
        return ""
    try:
        describable = cost.check(value)
        if validator.is_valid(value):
            return ""
    except CostError as error:
        return f"cannot be checked: {error}"
    return _describe(validator, value) if describable else "breaks its schema"


def _describe(validator: Any, value: Any) -> str:
    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as error:
        place = "/".join(str(part) for part in error.instance_path)
        rule = error.schema_path[-1] if error.schema_path else "false"
        return f"breaks the rule {rule!r} of its schema at /{place}"[:_LONGEST_PROBLEM]
    return "breaks its schema"


def _refuse_fetch(uri: str) -> NoReturn:
    raise ValueError(f"refused to fetch {uri}")
