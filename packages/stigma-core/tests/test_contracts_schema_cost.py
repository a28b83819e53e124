"""Limits of checking values against a schema; what they allow is cheap."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import time
from typing import Any

import jsonschema_rs
import pytest

from stigma.contracts import limits
from stigma.contracts.pattern_size import pattern_states
from stigma.contracts.schema_cost import CostError, SchemaCost

ROW = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(10)}}


def doubling(levels: int, word: str) -> dict[str, Any]:
    """2**levels evaluations at one place."""
    defs: dict[str, Any] = {
        f"d{n}": {word: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)
    }
    defs[f"d{levels}"] = {"type": "integer"}
    return {"$defs": defs, "$ref": "#/$defs/d0"}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


def twice_below(name: str) -> dict[str, Any]:
    """Each level of a value is evaluated twice as often as that around it."""
    node = {name: {"x": {"allOf": [{"$ref": "#/$defs/n"}] * 2}}}
    return {"$defs": {"n": node}, "$ref": "#/$defs/n"}


def value_of(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"x": value}
    return value


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (doubling(40, "allOf"), "subschemas at one place of a value, at #/"),
        (doubling(40, "anyOf"), "subschemas at one place"),
        (doubling(14, "oneOf"), "subschemas at one place"),
        ({"anyOf": [{"pattern": f"^a{{{n}}}z$"} for n in range(400)]}, "more than 100 patterns"),
        ({"pattern": "((a{100}){100}){100}"}, "states, with that at /"),
        ({"properties": {"a": {"pattern": "(a{9999}){9}"}}}, "with that at /properties/a"),
        (nested(101), "nested more than 200 deep"),
        (json.loads("[" * 900 + "]" * 900), "nested more than 200 deep"),
        ({"$ref": "#"}, "refers to itself at the same place of a value, at /"),
        ({"$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}, "refers to itself"),
        ({"items": {"$ref": "#/nowhere"}}, "a reference at /items/$ref that leads nowhere"),
        ({"$recursiveRef": "#"}, "refers to itself"),
        ({"$dynamicAnchor": "n", "allOf": [{"$dynamicRef": "#n"}]}, "refers to itself"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_schema_that_costs_too_much_at_one_place(schema: Any, reason: str) -> None:
    with pytest.raises(CostError, match=reason.replace("$", r"\$")):
        SchemaCost(schema)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (twice_below("properties"), value_of(40)),
        (twice_below("patternProperties"), value_of(40)),
        ({"$id": "urn:a", "$defs": {"b": {"$id": "urn:b", "$anchor": "c", "properties": {"x": {
            "allOf": [{"$ref": "urn:b#c"}] * 2}}}}, "$ref": "urn:b#/"}, value_of(40)),
        ({"items": doubling(12, "anyOf")["$defs"]["d0"], **doubling(12, "anyOf")}, ["x"] * 200),
        ({"items": {"pattern": "^(a|b){50}$"}}, ["ab" * 500] * 1000),
        ({"patternProperties": {"^(a|b){50}$": True}}, {"ab" * 500_000: 1}),
        ({"properties": {"x": {"$ref": "#"}}}, value_of(2001)),
        ({"propertyNames": {"pattern": "(?=a)b"}}, {"a" * 900_000: 1}),
    ],
    ids=["members", "patterns", "resources", "items", "texts", "names", "depth", "backtracking"],
)  # fmt: skip
def test_a_value_that_costs_too_much(schema: Any, value: Any) -> None:
    with pytest.raises(CostError):
        SchemaCost(schema).check(value)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (True, 1),
        ({"type": "array", "items": ROW}, [{f"p{n}": "text" for n in range(10)}] * 9000),
        ({"properties": {"kids": {"items": {"$ref": "#"}}}}, {"kids": [{"kids": [{}] * 50}] * 50}),
        ({"pattern": r"^[\w.+-]{1,64}@\w+\.\w{2,}$"}, "a@b.cd"),
        ({"$defs": {"a b": {"type": "integer"}}, "$ref": "#/$defs/a%20b"}, 1),
        ({"enum": list(range(5000))}, 7),
        ({"prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, [1, "a"]),
        ({"oneOf": [{"properties": {"k": {"const": n}}} for n in range(200)]}, {"k": 5}),
        ({"unevaluatedProperties": False, "allOf": [ROW]}, {"p1": "a"}),
        ({"pattern": r"^(?!x)a+$"}, "a" * 1000),
        (twice_below("properties"), value_of(10)),
    ],
)
def test_an_honest_schema_and_value(schema: Any, value: Any) -> None:
    SchemaCost(schema).check(value)


@pytest.mark.parametrize(
    ("pattern", "states"),
    [
        ("", 0),
        ("abc", 3),
        ("^a{400}z$", 403),
        ("a{2,5}", 5),
        ("a{3,}", 3),
        ("(ab{3}){4}", 16),
        ("[a-z]{30}", 30),
        (r"[\]a]{30}", 30),
        (r"\w{2}", 100),
        (r"\p{Greek}", 50),
        (r"\{5}", 3),
        ("a{3", 3),
        ("(a", 1),
        ("a)", 2),
        (r"(?=a)b", 300),
    ],
)
def test_states_of_a_pattern(pattern: str, states: int) -> None:
    assert pattern_states(pattern) == states


# The largest that is allowed, in several shapes: an own process shows the memory each takes.
WORST = {
    "any": ({"items": {"$ref": "#/$defs/d0"}, "$defs": doubling(10, "anyOf")["$defs"]}, ["x"] * 30),
    "rows": ({"items": ROW}, [{f"p{n}": 1 for n in range(10)}] * 17_000),
    "patterns": ({"anyOf": [{"pattern": f"^(a|b){{{n}}}z"} for n in range(99)]}, "ab" * 900),
    "backtracking": ({"items": {"pattern": "(?<!x)(a|aa)+$"}}, ["a" * 500 + "c"] * 35),
    "schema": ({"anyOf": [{"properties": {"a": {"const": n}}} for n in range(1500)]}, {"a": -1}),
    "large": (
        {"anyOf": [{"type": "integer", "title": str(n)} for n in range(4900)]},
        "x" * 900_000,
    ),
    "deep": (
        {
            "$defs": {"n": {"additionalProperties": {"oneOf": [{"$ref": "#/$defs/n"}] * 2}}},
            "$ref": "#/$defs/n",
        },
        value_of(15),
    ),
}


@pytest.mark.parametrize("name", WORST)
def test_the_largest_allowed_is_cheap(name: str) -> None:
    """A second and 100 MB are far more than measured, and far less than what was possible."""
    script = f"from {__name__.rpartition('.')[2]} import spend; spend({name!r})"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=__file__.rpartition("/")[0],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    seconds, megabytes = map(float, done.stdout.split())
    assert seconds < 2
    assert megabytes < 100


def spend(name: str) -> None:
    schema, value = WORST[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    describable = SchemaCost(schema).check(value)
    options = jsonschema_rs.FancyRegexOptions(backtrack_limit=limits.MAX_PATTERN_BACKTRACKS)
    validator = jsonschema_rs.validator_for(schema, pattern_options=options)
    if not validator.is_valid(value) and describable:
        with contextlib.suppress(jsonschema_rs.ValidationError):
            validator.validate(value)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    sys.stdout.write(f"{time.process_time() - began} {used / 1024}")
