"""JSON Schema validation that neither fetches nor stalls."""

from __future__ import annotations

import json
from itertools import islice
from typing import NoReturn

import jsonschema_rs

from stigma.contracts.schema_cost import CostError, SchemaCost
from stigma.contracts.spelling import did_you_mean
from zigflow_worker.expressions import JSON

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
"""Of a schema that names none."""
_MOST_MISTAKES = 100
_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")


class SchemaError(ValueError):
    """The schema itself is not valid; one line."""


class Schema:
    """A compiled schema; immutable, so that runs share it."""

    __slots__ = ("_cost", "_validator")

    def __init__(self, document: JSON) -> None:
        """Compile a schema (raises SchemaError)."""
        try:
            self._cost = SchemaCost(document)
            self._validator = jsonschema_rs.validator_for(
                document,  # type: ignore[arg-type]
                retriever=_refuse,
                # Linear-time patterns: the default engine backtracks.
                pattern_options=jsonschema_rs.RegexOptions(),
            )
        except CostError as error:
            raise SchemaError(f"the schema {error}") from None
        except ValueError as error:
            raise SchemaError(str(error).partition("\n")[0]) from None

    def violation(self, value: JSON) -> str | None:
        """Return what is wrong with a value, in one line, or None."""
        try:
            describable = self._cost.check(value)
            if self._validator.is_valid(value):
                return None
            if not describable:
                return "/: breaks the schema, in too many alternatives to tell which"
            self._validator.validate(value)
        except CostError as error:
            return f"/: checking the value {error}"
        except jsonschema_rs.ValidationError as error:
            place = "".join(f"/{token}" for token in error.instance_path)
            return f"{place or '/'}: {_shortened(error.message)}"
        except ValueError as error:
            return _shortened(str(error))
        return None


def schema_mistakes(document: JSON) -> list[tuple[tuple[str | int, ...], str]]:
    """Return the path and the text of what breaks the rules of JSON Schema.

    Empty where those rules allow the schema, and something else makes it invalid.
    """
    dialect = document.get("$schema", _DIALECT) if isinstance(document, dict) else _DIALECT
    try:
        rules = jsonschema_rs.validator_for(
            {"$ref": dialect}, retriever=_refuse, pattern_options=jsonschema_rs.RegexOptions()
        )
        found = [*islice(rules.iter_errors(document), _MOST_MISTAKES)]
    except ValueError:
        return []
    return [(tuple(each.instance_path), _message_of(each)) for each in found]


def _message_of(error: jsonschema_rs.ValidationError) -> str:
    """Return what is wrong; of a type, which is one of several, the types that there are."""
    if error.instance_path[-1:] == ["type"] and isinstance(error.instance, str):
        near = did_you_mean(error.instance, _TYPES)
        return f"{json.dumps(error.instance)} is none of {', '.join(_TYPES)}{near}"
    return _shortened(error.message)


def _shortened(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= 300 else f"{line[:297]}..."


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"references to other documents are not allowed: {uri}")
