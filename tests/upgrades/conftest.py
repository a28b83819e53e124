"""The tests of worker versioning need a Temporal that has it: only where one is named."""

from __future__ import annotations

import os

import pytest

SERVER = "STIGMA_TEST_VERSIONED_TEMPORAL"
_MARK = "versioned"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{_MARK}: on the Temporal ≥ 1.32 at {SERVER}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get(SERVER):
        return
    left_out = [one for one in items if one.get_closest_marker(_MARK)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [one for one in items if one not in left_out]
