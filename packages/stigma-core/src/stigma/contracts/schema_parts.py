"""A JSON Schema as a graph: what is evaluated at one place of a value, and what below it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stigma.contracts import json_text, limits
from stigma.contracts.pattern_size import pattern_states

_BESIDE = ("not", "if", "then", "else")
_LISTS_BESIDE = ("allOf", "anyOf", "oneOf")
_MAPS_BESIDE = ("dependentSchemas", "dependencies")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_EACH_MEMBER = ("additionalProperties", "unevaluatedProperties")
_EACH_ITEM = ("items", "additionalItems", "contains", "unevaluatedItems")
_UNEVALUATED = ("unevaluatedProperties", "unevaluatedItems")
_ESCAPED = re.compile(r"(?:%[0-9a-fA-F]{2})+")


class CostError(ValueError):
    """Checking takes more than a limit allows; one line that says where and which."""


@dataclass(eq=False)
class Part:
    """One subschema.

    Attributes:
        pointer: where it is first met.
        own: evaluations of its own keywords.
        states: of the patterns that a text is matched with.
        name_states: of the patterns that each name of a member is matched with.
        unique: whether items are compared with each other.
        repeats: how often what is `beside` is evaluated each time.
        alternatives: whether some of what is `beside` may fail while the whole holds.
        beside: subschemas evaluated at the same place of a value.
        members: those for the member of a name.
        each_member: those for every member.
        names: those for the name of every member.
        items: those for the item of an index.
        each_item: those for every item.
    """

    pointer: str
    own: int = 1
    states: int = 0
    name_states: int = 0
    unique: bool = False
    repeats: int = 1
    alternatives: bool = False
    beside: list[Part] = field(default_factory=list)
    members: dict[str, list[Part]] = field(default_factory=dict)
    each_member: list[Part] = field(default_factory=list)
    names: list[Part] = field(default_factory=list)
    items: list[list[Part]] = field(default_factory=list)
    each_item: list[Part] = field(default_factory=list)


def read_parts(schema: dict[str, Any]) -> list[Part]:
    """Return all subschemas that a value may meet, the schema itself first.

    Raises:
        CostError: a reference leads nowhere, or there are too many patterns.
    """
    return _Reader(schema).read()


class _Reader:
    def __init__(self, schema: dict[str, Any]) -> None:
        self._references = _References(schema)
        self._schema = schema
        self._parts: dict[int, Part] = {}
        self._unread: list[tuple[Part, dict[str, Any]]] = []
        self._patterns = self._states = 0

    def read(self) -> list[Part]:
        self._part(self._schema, "")
        while self._unread:
            self._fill(*self._unread.pop())
        return list(self._parts.values())

    def _part(self, schema: Any, pointer: str) -> list[Part]:
        """Return the part of a subschema; true and false have none."""
        if not isinstance(schema, dict):
            return []
        if id(schema) not in self._parts:
            part = self._parts[id(schema)] = Part(pointer)
            self._unread.append((part, schema))
        return [self._parts[id(schema)]]

    def _fill(self, part: Part, schema: dict[str, Any]) -> None:
        self._count(part, schema)
        part.beside += self._beside(schema, part.pointer)
        members = self._named(schema, part.pointer, "properties")
        part.members = dict(members)
        part.names += self._part(schema.get("propertyNames"), f"{part.pointer}/propertyNames")
        for _, parts in self._named(schema, part.pointer, "patternProperties"):
            part.each_member += parts
        for key in _EACH_MEMBER:
            part.each_member += self._part(schema.get(key), f"{part.pointer}/{key}")
        for key in ("prefixItems", "items"):
            part.items += self._listed(schema, part.pointer, key)
        for key in _EACH_ITEM:
            part.each_item += self._part(schema.get(key), f"{part.pointer}/{key}")

    def _beside(self, schema: dict[str, Any], pointer: str) -> Iterator[Part]:
        for key in _BESIDE:
            yield from self._part(schema.get(key), f"{pointer}/{key}")
        for key in _LISTS_BESIDE:
            for parts in self._listed(schema, pointer, key):
                yield from parts
        for key in _MAPS_BESIDE:
            for _, parts in self._named(schema, pointer, key):
                yield from parts
        for key in _REFERENCES:
            for target in self._references.targets(key, schema, pointer):
                yield from self._part(target, str(schema[key]))

    def _count(self, part: Part, schema: dict[str, Any]) -> None:
        for key in ("enum", "const", "required"):
            part.own += sum(1 for _ in json_text.values_in(schema.get(key))) // 10
        part.unique = schema.get("uniqueItems") is True
        # What was evaluated is found out by evaluating it again.
        part.repeats = 2 if any(key in schema for key in _UNEVALUATED) else 1
        part.alternatives = "anyOf" in schema or "oneOf" in schema
        part.states = self._measured(part, [schema.get("pattern")])
        patterns = schema.get("patternProperties")
        if isinstance(patterns, dict):
            part.name_states = self._measured(part, patterns)

    def _measured(self, part: Part, patterns: Iterable[Any]) -> int:
        found = [pattern_states(pattern) for pattern in patterns if isinstance(pattern, str)]
        self._patterns += len(found)
        self._states += sum(found)
        if self._patterns > limits.MAX_SCHEMA_PATTERNS:
            raise CostError(f"has more than {limits.MAX_SCHEMA_PATTERNS} patterns")
        if self._states > limits.MAX_PATTERN_STATES:
            raise CostError(
                f"has patterns of more than {limits.MAX_PATTERN_STATES} states, with that at "
                f"{part.pointer or '/'}"
            )
        return sum(found)

    def _listed(self, schema: dict[str, Any], pointer: str, key: str) -> Iterator[list[Part]]:
        children = schema.get(key)
        for index, child in enumerate(children if isinstance(children, list) else ()):
            yield self._part(child, f"{pointer}/{key}/{index}")

    def _named(
        self, schema: dict[str, Any], pointer: str, key: str
    ) -> Iterator[tuple[str, list[Part]]]:
        children = schema.get(key)
        for name, child in children.items() if isinstance(children, dict) else ():
            yield name, self._part(child, f"{pointer}/{key}/{name}")


class _References:
    """Targets of references: all that a reference may mean, whichever resource it is in."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._resources = [schema]
        self._named = False  # whether any resource has a name that a reference may say
        self._anchors: dict[str, list[dict[str, Any]]] = {}
        for each in json_text.values_in(schema):
            if isinstance(each, dict):
                self._note(each)

    def _note(self, schema: dict[str, Any]) -> None:
        for key in ("$anchor", "$dynamicAnchor", "$id", "id"):
            name = schema.get(key)
            if not isinstance(name, str):
                continue
            if not key.endswith("id"):
                self._anchors.setdefault(name, []).append(schema)
            elif name.startswith("#"):
                self._anchors.setdefault(name[1:], []).append(schema)
            else:
                self._named = True
                if schema is not self._resources[0]:
                    self._resources.append(schema)

    def targets(self, key: str, schema: dict[str, Any], pointer: str) -> list[Any]:
        """Return what a reference of a subschema may lead to.

        Raises:
            CostError: it leads nowhere.
        """
        reference = schema.get(key)
        if not isinstance(reference, str):
            return []
        resource, _, fragment = reference.partition("#")
        if resource and not self._named:
            return []  # another document: whoever compiles the schema refuses it
        fragment = _ESCAPED.sub(_unescaped, fragment)
        if fragment and not fragment.startswith("/"):
            found: list[Any] = self._anchors.get(fragment, [])
        else:
            found = [
                target
                for resource in self._resources
                for target in _pointed(resource, fragment.split("/")[1:])
            ]
        if not found:
            raise CostError(f"has a reference at {pointer}/{key} that leads nowhere")
        return found


def _pointed(value: Any, steps: Iterable[str]) -> Iterator[Any]:
    for step in steps:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return
    yield value


def _unescaped(match: re.Match[str]) -> str:
    return bytes.fromhex(match[0].replace("%", "")).decode(errors="replace")
