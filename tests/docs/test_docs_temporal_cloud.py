"""Search attributes registered by hand on Temporal Cloud are those that Stigma needs."""

from __future__ import annotations

import re

from temporalio.api.enums.v1 import IndexedValueType

from stigma.contracts.search_attributes import INDEXED_VALUE_TYPES
from tests.docs.pages import ROOT, read_page

_PREFIX = "INDEXED_VALUE_TYPE_"


def test_the_search_attributes_are_all_of_them_with_their_types() -> None:
    page = read_page(ROOT / "docs" / "temporal-cloud.md")
    text = page.block("search-attributes").text
    listed = dict(re.findall(r"--search-attribute (\w+)=(\w+)", text))
    assert {name: kind.upper() for name, kind in listed.items()} == {
        name: IndexedValueType.Name(kind).removeprefix(_PREFIX).replace("_", "")
        for name, kind in INDEXED_VALUE_TYPES.items()
    }
