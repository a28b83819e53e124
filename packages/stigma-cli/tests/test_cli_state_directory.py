"""The directory of `stigma up`, and what its children inherit. Nothing is started."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from stigma_cli.child_environment import without_other_installations
from stigma_cli.child_process import ProcessGroup, exit_text
from stigma_cli.errors import CliError
from stigma_cli.state_directory import claim, registry_url


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def is_gone(process_id: int) -> bool:
    """Return whether a process has ended; who reaps it is another question."""
    status = Path(f"/proc/{process_id}/stat")
    return not status.exists() or status.read_text().split()[2] == "Z"


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    directory = tmp_path / ".stigma"
    directory.mkdir(0o755)
    with closing(sqlite3.connect(directory / "registry.db")) as database:
        database.execute("CREATE TABLE agents (name)")
    (directory / "stigma_api.log").touch(0o644)
    with ExitStack() as claims:
        claim(directory, claims)
        assert {path.name: mode(path) for path in (directory, *directory.iterdir())} == {
            ".stigma": 0o700,
            "lock": 0o600,
            "registry.db": 0o600,
            "stigma_api.log": 0o600,
        }


def test_a_directory_of_the_users_keeps_its_mode(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir(0o755)
    (mine / "notes.txt").touch(0o644)
    with ExitStack() as claims:
        claim(mine, claims)
        claim(tmp_path / "new" / "one", claims)
    assert [mode(mine), mode(mine / "notes.txt"), mode(tmp_path / "new/one")] == [
        0o755,
        0o644,
        0o700,
    ]


@pytest.mark.parametrize("name", ["registry.db", "temporal.db"])
def test_a_damaged_database_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not a database at all" * 100)
    with ExitStack() as claims, pytest.raises(CliError) as refused:
        claim(tmp_path, claims)
    assert refused.value.message == f"{tmp_path}/{name} is damaged: file is not a database"
    assert refused.value.hint.endswith(f"mv {tmp_path}/{name} {tmp_path}/{name}.damaged")


@pytest.mark.parametrize("name", ["feature%2Flogin", "a?b=c", "100%", "a#b 'c'", "é😀"])
def test_any_path_is_a_registry(tmp_path: Path, name: str) -> None:
    url = sa.make_url(registry_url(tmp_path / name))
    assert (url.database, dict(url.query)) == (str(tmp_path / name / "registry.db"), {})


OTHERS = {
    "STIGMA_API_KEY": "k",
    "STIGMA_API_TLS_CA": "/ca",
    "STIGMA_API_TLS_CLIENT_CA": "/ca",
    "STIGMA_API_ALLOW_INSECURE": "true",
    "STIGMA_PRINCIPALS_FILE": "/p",
}
OF_TEMPORAL = {"TEMPORAL_API_KEY": "k", "TEMPORAL_TLS": "true", "TEMPORAL_PROFILE": "cloud"}
KEPT = {"PATH": "/bin", "STIGMA_LOG_LEVEL": "DEBUG", "STIGMA_TASK_QUEUE_PREFIX": "x-"}


def test_children_inherit_nothing_of_another_installation() -> None:
    given = OTHERS | OF_TEMPORAL | KEPT
    own = without_other_installations(given, own_temporal=True)
    assert own == KEPT | {"TEMPORAL_CONFIG_FILE": os.devnull}
    assert without_other_installations(given, own_temporal=False) == KEPT | OF_TEMPORAL


@pytest.mark.parametrize("deaf", [False, True])
async def test_what_a_wrapper_started_ends_with_it(tmp_path: Path, deaf: bool) -> None:
    """A shell does not hand signals on to the program that it waits for."""
    wrapper = tmp_path / "wrapper"
    trap = "trap '' TERM; " if deaf else ""
    wrapper.write_text(f"#!/bin/sh\n{trap}sleep 600 & echo $!; wait\n")
    wrapper.chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        str(wrapper), stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    child = int(await process.stdout.readline())
    await ProcessGroup(process).stop(timedelta(seconds=0.2 if deaf else 30))
    assert process.returncode == -(signal.SIGKILL if deaf else signal.SIGTERM)
    assert is_gone(child)


@pytest.mark.parametrize(
    ("code", "text"),
    [(1, "ended with exit code 1"), (-9, "was killed (SIGKILL)"), (-40, "was killed (signal 40)")],
)
def test_how_a_process_ended(code: int, text: str) -> None:
    assert exit_text(code) == text
