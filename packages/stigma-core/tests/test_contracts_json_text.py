"""JSON text: finite numbers, whole characters."""

from __future__ import annotations

import math

import pytest

from stigma.contracts import json_text


def test_text_is_compact_and_stays_readable() -> None:
    assert json_text.compact({"b": "ü", "a": [1, None]}) == '{"b":"ü","a":[1,null]}'
    assert json_text.compact({"b": 1, "a": 2}, sort_keys=True) == '{"a":2,"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text.compact(math.inf, allow_nan=False)


@pytest.mark.parametrize("text", ["NaN", "[-Infinity]", '{"a": Infinity}', '"\\ud83d"', "{"])
def test_text_that_some_reader_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several types
        json_text.parse(text)


def test_a_whole_pair_of_surrogates_is_a_character() -> None:
    assert json_text.parse('"\\ud83d\\ude00"') == "😀"
