"""YAML whose aliases repeat aliases: refused before anybody writes them out."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from stigma_cli.alias_expansion import MAX_VALUES, expands_too_far
from stigma_cli.yaml_files import FileError, parse_documents

NAMES = "abcdefghi"
BOMB = "\n".join(
    ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    + [f"{name}: &{name} [{', '.join([f'*{last}'] * 9)}]" for last, name in pairwise(NAMES)]
)


def test_a_file_whose_aliases_make_billions_of_values_is_refused() -> None:
    with pytest.raises(FileError, match="more than 1,000,000 values"):
        parse_documents("bomb.yaml", BOMB)
    with pytest.raises(FileError, match="more than 1,000,000 values"):
        parse_documents("second.yaml", f"first: 1\n---\n{BOMB}")


def test_aliases_of_a_sane_size_are_taken() -> None:
    [document] = parse_documents("shared.yaml", "a: &a {x: 1}\nb: [*a, *a]\n")
    assert document["b"] == [{"x": 1}, {"x": 1}]


@pytest.mark.parametrize(("values", "too_far"), [(MAX_VALUES - 1, False), (MAX_VALUES, True)])
def test_the_limit_counts_the_container_too(values: int, too_far: bool) -> None:
    assert expands_too_far([None] * values) is too_far


def test_what_is_in_itself_is_too_far() -> None:
    own: list[Any] = []
    own.append({"own": own})
    assert expands_too_far(own)
