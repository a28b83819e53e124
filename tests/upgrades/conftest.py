"""Trees of past releases, each checked out once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.upgrades.past_packages import install_missing
from tests.upgrades.past_release import Tree, UnknownReleaseError, check_out


@pytest.fixture(scope="session")
def code_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Tree]:
    """Return the code of a past release; a clone without it skips the test."""
    trees: dict[Path, Tree] = {}

    def of(release: Path) -> Tree:
        if release not in trees:
            try:
                tree = check_out(release, tmp_path_factory.mktemp("release"))
            except UnknownReleaseError as error:
                pytest.skip(str(error))
            install_missing(tree)
            trees[release] = tree
        return trees[release]

    return of
