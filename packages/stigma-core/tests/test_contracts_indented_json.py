"""JSON as people read it."""

from __future__ import annotations

from stigma.contracts.indented_json import indent_json


def test_arguments_are_shown_as_they_are_sent() -> None:
    assert indent_json('{"a":1.50,"b":[1e400,true,{}],"c":"\\u00e9"}') == (
        '{\n  "a": 1.50,\n  "b": [\n    1e400,\n    true,\n    {}\n  ],\n  "c": "é"\n}'
    )
    twice = '{"to":"bob","to":"eve"}'
    assert indent_json(twice) == twice
    assert indent_json("no JSON") == "no JSON"
