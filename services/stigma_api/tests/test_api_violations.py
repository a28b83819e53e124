"""JSON in requests: what is read, and what could not be written again."""

from __future__ import annotations

import pytest

from stigma_api.requests.violations import parse_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, null]}', {"a": [1, None]}),
        (r'"\ud83d\ude00"', "\U0001f600"),
        (r'"\\ud800"', r"\ud800"),  # a backslash and letters
    ],
)
def test_json_is_read(text: str, value: object):
    assert parse_json(text) == (value, "")


@pytest.mark.parametrize(
    "text", [r'"\ud800"', r'["fine", {"a": "x\udc00y"}]', r'{"\uDFFF": 1}', r'"\ude00\ud83d"']
)
def test_half_a_surrogate_pair_is_refused(text: str):
    value, problem = parse_json(text)
    assert value is None
    assert "surrogate pair" in problem


@pytest.mark.parametrize(
    "text", ["{", "NaN", "1e999", '{"a": [-1e999]}', "-Infinity", "[" * 100_000, "9" * 5000]
)
def test_what_is_no_json_is_refused(text: str):
    value, problem = parse_json(text)
    assert value is None
    assert problem.startswith("is not JSON")
