"""Runs that were refused, told from runs that failed."""

from __future__ import annotations

import pytest

from stigma.contracts.refusals import Refusal, refusal_in


@pytest.mark.parametrize("refusal", Refusal)
def test_a_refusal_is_known_by_its_code(refusal: Refusal) -> None:
    assert refusal_in({"type": "t", "refusal": str(refusal)}) is refusal


@pytest.mark.parametrize(
    "details", [None, "INVALID_INPUT", {}, {"refusal": "LATER"}, {"refusal": ["INVALID_INPUT"]}]
)
def test_anything_else_is_a_failure(details: object) -> None:
    assert refusal_in(details) is None
