"""A schema of an OpenAPI document as a JSON Schema of its own, all references inside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zigflow_worker.errors import VALIDATION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.openapi.documents import Part, misconfigured
from zigflow_worker.program.schemas import Schema, SchemaError

_MAX_SCHEMAS = 5_000
"""Schemas in one schema, those that it refers to included."""
_PLAIN = (
    *("enum", "const", "multipleOf", "maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum"),
    *("maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems"),
    *("maxContains", "minContains", "maxProperties", "minProperties", "dependentRequired"),
)
_MAPS = ("properties", "patternProperties", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = (
    *("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"),
    *("unevaluatedItems", "unevaluatedProperties"),
)


class ValueSchema:
    """The schema of a parameter or body: it checks values, and says what type they are."""

    def __init__(self, part: Part) -> None:
        """Read a schema (raises WorkflowError, of type `configuration`)."""
        self.document = _Bundle().document(part)
        try:
            self._schema = Schema(self.document)
        except SchemaError as error:
            raise part.error(f"not a valid schema: {error}") from None

    @property
    def is_list(self) -> bool:
        """Whether only a list matches."""
        return self._top.get("type") in ("array", ["array"], ["array", "null"])

    @property
    def properties(self) -> Mapping[str, JSON]:
        """The properties that it declares on top."""
        properties = self._top.get("properties")
        return properties if isinstance(properties, dict) else {}

    def violation(self, value: JSON) -> str | None:
        """Return what is wrong with a value, in one line, or None."""
        return self._schema.violation(value)

    def check(self, value: JSON, name: str) -> None:
        """Check a value (raises WorkflowError, of type `validation`)."""
        violation = self.violation(value)
        if violation is not None:
            problem = violation.removeprefix("/: ")
            raise invalid(f"'{name}' does not match its schema: {problem}")

    @property
    def _top(self) -> dict[str, Any]:
        schema: Any = self.document
        seen = 0
        while isinstance(schema, dict) and set(schema) - {"$defs"} == {"$ref"} and seen < 50:
            schema, seen = self.document["$defs"][schema["$ref"].rpartition("/")[2]], seen + 1
        return schema if isinstance(schema, dict) else {}


def invalid(message: str) -> WorkflowError:
    """Return the error of arguments that do not match."""
    return WorkflowError.of(VALIDATION, message)


class _Bundle:
    """Copies what validates, in the dialect of JSON Schema 2020-12; references get names."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}
        self._waiting: list[tuple[str, Part]] = []
        self._left = _MAX_SCHEMAS

    def document(self, part: Part) -> dict[str, Any]:
        converted = self._convert(part)
        document = converted if isinstance(converted, dict) else {"allOf": [converted]}
        definitions = {}
        while self._waiting:
            name, waiting = self._waiting.pop()
            definitions[name] = self._convert(waiting)
        return {**document, "$defs": definitions} if definitions else document

    def _convert(self, part: Part) -> JSON:
        self._left -= 1
        if self._left < 0:
            raise misconfigured(f"a schema has more than {_MAX_SCHEMAS} schemas in it")
        if isinstance(part.value, bool):
            return part.value
        fields = part.fields()
        reference = part.value.get("$ref") if isinstance(part.value, dict) else None
        if not isinstance(reference, str):
            return self._keywords(part, fields)
        referring: JSON = {"$ref": f"#/$defs/{self._name_of(part.referenced(reference))}"}
        beside = self._keywords(part, fields)  # OpenAPI 3.1 has some
        return {"allOf": [referring, beside]} if beside else referring

    def _name_of(self, target: Part) -> str:
        place = (target.uri, target.pointer)
        if place not in self._names:
            self._names[place] = f"s{len(self._names)}"
            self._waiting.append((self._names[place], target))
        return self._names[place]

    def _keywords(self, part: Part, fields: Mapping[str, Part]) -> dict[str, JSON]:
        schema = {key: fields[key].value for key in _PLAIN if key in fields}
        for key in _MAPS:
            if key in fields:
                inner = fields[key].fields()
                schema[key] = {name: self._convert(each) for name, each in inner.items()}
        for key in _LISTS:
            if key in fields and isinstance(fields[key].value, list):
                schema[key] = [self._convert(each) for each in _written_items(fields[key])]
        for key in _SINGLE:
            if key in fields:
                schema[key] = self._convert(fields[key])
        schema.update(_type_of(fields))
        schema.update(_required_of(part, fields))
        _convert_bounds(schema)
        return schema


def _written_items(part: Part) -> list[Part]:
    count = len(part.value) if isinstance(part.value, list) else 0
    return [child for index in range(count) if (child := part.child(index)) is not None]


def _type_of(fields: Mapping[str, Part]) -> dict[str, JSON]:
    """Return `type`: OpenAPI before 3.1 says of null by a keyword of its own."""
    types = fields["type"].value if "type" in fields else None
    if types is None or types == "file":
        return {}
    nullable = (fields[key].value for key in ("nullable", "x-nullable") if key in fields)
    if isinstance(types, str) and any(value is True for value in nullable):
        return {"type": [types, "null"]}
    return {"type": types}


def _required_of(part: Part, fields: Mapping[str, Part]) -> dict[str, JSON]:
    """Return `required` without what only responses have."""
    names = fields["required"].value if "required" in fields else None
    if not isinstance(names, list):
        return {}
    properties = part.child("properties")
    return {"required": [name for name in names if not _is_read_only(properties, name)]}


def _is_read_only(properties: Part | None, name: JSON) -> bool:
    declared = None if properties is None else properties.get(str(name))
    return declared is not None and declared.flag("readOnly")


def _convert_bounds(schema: dict[str, JSON]) -> None:
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(exclusive), bool):
            is_exclusive = schema.pop(exclusive)
            if is_exclusive and bound in schema:
                schema[exclusive] = schema.pop(bound)
