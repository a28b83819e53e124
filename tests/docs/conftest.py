"""Everything that the documents' commands need, started once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.docs.site import Site, open_site
from tests.docs.table import CommandsTable
from tests.stack.plugin import running_stacks

_TABLE: pytest.StashKey[CommandsTable] = pytest.StashKey()


@pytest.fixture(scope="session")
def commands_table(request: pytest.FixtureRequest) -> CommandsTable:
    """The table that is printed at the end."""
    if _TABLE not in request.config.stash:
        request.config.stash[_TABLE] = CommandsTable()
        request.config.pluginmanager.register(request.config.stash[_TABLE], "stigma-docs-table")
    return request.config.stash[_TABLE]


@pytest.fixture(scope="session")
async def site(
    request: pytest.FixtureRequest,
    temporal_binary: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Site]:
    """A running installation with the usual names, and a user's shell."""
    running = running_stacks(request.config)
    async with open_site(temporal_binary, tmp_path_factory.mktemp("docs")) as site:
        running.append(site.stack)
        yield site
        running.remove(site.stack)
