"""One installation for all rehearsals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.rehearsals.table import RehearsalTable
from tests.stack.plugin import running_stacks

if TYPE_CHECKING:
    from tests.rehearsals.ground import Ground


@pytest.fixture(scope="session")
async def ground(
    request: pytest.FixtureRequest,
    temporal_binary: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Ground]:
    """Everything, running."""
    from tests.rehearsals.ground import open_ground

    table = RehearsalTable()
    request.config.pluginmanager.register(table, "stigma-rehearsal-table")
    running = running_stacks(request.config)
    directory = tmp_path_factory.mktemp("rehearsals")
    async with open_ground(temporal_binary, directory, table) as ground:
        running.append(ground.stack)
        yield ground
        running.remove(ground.stack)
