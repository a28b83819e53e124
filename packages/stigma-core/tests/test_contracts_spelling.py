"""Words that are meant, but misspelt."""

from __future__ import annotations

import pytest

from stigma.contracts.spelling import did_you_mean, is_misspelt


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("modle", ["model", "timeout"], "model"),
        ("operation_id", ["operationId", "document"], "operationId"),
        ("API-KEY", ["api_key"], "api_key"),
        ("az", ["as", "do"], "as"),
        ("id", ["do"], None),  # a short word begins alike
        ("timeout", ["labels"], None),
        ("x" * 1_000, ["x" * 999], None),
        ("model", (), None),
    ],
)
def test_a_word_that_is_close_is_meant(word: str, known: list[str], meant: str | None) -> None:
    assert did_you_mean(word, known) == ("" if meant is None else f", did you mean '{meant}'?")


def test_a_key_is_misspelt_by_an_unknown_one() -> None:
    assert is_misspelt("agent", ["agnet", "other"])
    assert not is_misspelt("agent", ["other"])
    assert not is_misspelt("agent", [f"key{number}" for number in range(400)] + ["agnet"])
