"""The rules of JSON Schemas in definitions, which come from anybody."""

from __future__ import annotations

from typing import Any

import jsonschema_rs

from stigma.contracts import limits
from stigma.contracts.schema_cost import CostError, SchemaCost
from stigma_api.requests.violations import Violations, parse_json

_LONGEST_PROBLEM = 500
# As the AI worker reads them.
_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=limits.MAX_PATTERN_BACKTRACKS)


def check_schema(found: Violations, at: str, text: str, *, of_object: bool = False) -> None:
    """Check a JSON Schema, if it is given.

    Args:
        found: collects what is wrong.
        at: path of the field.
        text: the schema as JSON text.
        of_object: its type must be "object".
    """
    if text:
        problem = _schema_problem(text, of_object=of_object)
        found.require(not problem, at, problem)


def _schema_problem(text: str, *, of_object: bool) -> str:
    schema, problem = parse_json(text)
    if problem:
        return problem
    if not isinstance(schema, dict):
        return "must be a JSON object"
    try:
        SchemaCost(schema)
    except CostError as error:
        return str(error)[:_LONGEST_PROBLEM]
    if not _refers_inside(schema):
        return "may refer only to itself: every $ref starts with #"
    if of_object and schema.get("type") != "object":
        return 'must be of an object: its "type" is "object"'
    return _compilation_problem(schema)


def _compilation_problem(schema: dict[str, Any]) -> str:
    try:
        jsonschema_rs.meta.validate(schema)
        jsonschema_rs.validator_for(schema, pattern_options=_PATTERNS)
    except jsonschema_rs.ValidationError as error:
        place = "/".join(str(part) for part in error.instance_path)
        return f"is not a JSON Schema: {error.message} at /{place}"[:_LONGEST_PROBLEM]
    except (jsonschema_rs.ReferencingError, ValueError):
        return "is not a JSON Schema: its $schema is not known"
    return ""


def _refers_inside(schema: object) -> bool:
    """Return whether the schema refers to nothing outside itself."""
    if isinstance(schema, dict):
        for key in ("$ref", "$dynamicRef", "$recursiveRef"):
            reference = schema.get(key)
            if isinstance(reference, str) and not reference.startswith("#"):
                return False
        return all(_refers_inside(value) for value in schema.values())
    if isinstance(schema, list):
        return all(_refers_inside(value) for value in schema)
    return True
