"""Everything that the documents' commands need, started once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.docs.documented_site import DocumentedSite, open_site
from tests.docs.pages import Block, read_page
from tests.docs.table import CommandsTable
from tests.stack.plugin import running_stacks
from tests.stack.tables import add_table

# A command is mostly the start of a Python process.
_PAGES_AT_A_TIME = 2

_TABLE: pytest.StashKey[CommandsTable] = pytest.StashKey()


@pytest.fixture(scope="package")
def commands_table(request: pytest.FixtureRequest) -> CommandsTable:
    """The table that is printed at the end."""
    if _TABLE not in request.config.stash:
        request.config.stash[_TABLE] = CommandsTable()
        add_table(request.config, request.config.stash[_TABLE])
    return request.config.stash[_TABLE]


@pytest.fixture(scope="package")
async def site(
    request: pytest.FixtureRequest,
    temporal_binary: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[DocumentedSite]:
    """A running installation with the usual names, and a user's shell."""
    running = running_stacks(request.config)
    async with open_site(temporal_binary, tmp_path_factory.mktemp("docs")) as site:
        running.append(site.stack)
        yield site
        running.remove(site.stack)


@pytest.fixture(scope="package")
async def followed(
    request: pytest.FixtureRequest, site: DocumentedSite
) -> AsyncIterator[Mapping[Path, asyncio.Task[list[Block]]]]:
    """The pages of this run, being followed, some at a time; each task ends with its page."""
    at_a_time = asyncio.Semaphore(_PAGES_AT_A_TIME)

    async def follow(path: Path) -> list[Block]:
        async with at_a_time:
            return await site.follow(read_page(path))

    paths = {
        Path(str(item.callspec.params["path"]))
        for item in request.session.items
        if isinstance(item, pytest.Function) and "followed" in item.fixturenames
    }
    tasks = {path: asyncio.create_task(follow(path)) for path in sorted(paths)}
    yield tasks
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
