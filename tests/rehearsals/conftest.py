"""One installation for all rehearsals."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.rehearsals.table import RehearsalTable
from tests.stack.plugin import running_stacks
from tests.stack.tables import add_table

if TYPE_CHECKING:
    from tests.integration.executions import Called
    from tests.rehearsals.rehearsal_environment import RehearsalEnvironment


@pytest.fixture(scope="package")
async def rehearsal(
    request: pytest.FixtureRequest,
    temporal_binary: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[RehearsalEnvironment]:
    """Everything, running."""
    from tests.rehearsals.rehearsal_environment import open_environment

    table = RehearsalTable()
    add_table(request.config, table)
    running = running_stacks(request.config)
    directory = tmp_path_factory.mktemp("rehearsals")
    async with open_environment(temporal_binary, directory, table) as rehearsal:
        running.append(rehearsal.stack)
        yield rehearsal
        running.remove(rehearsal.stack)


@pytest.fixture(scope="package", autouse=True)
async def early_call(rehearsal: RehearsalEnvironment) -> Called:
    """A call whose caller is not looked after again, once it was ten seconds after the start."""
    from tests.rehearsals.rehearsal_environment import LONG_SECONDS

    return await rehearsal.call_held(uuid.uuid4().hex, heartbeat_timeout=LONG_SECONDS)
