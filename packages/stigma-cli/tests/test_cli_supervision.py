"""Services that end are started again: real processes of a program that stands for a service."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from temporalio.client import Client

from stigma_cli import supervision
from stigma_cli.devserver import free_ports
from stigma_cli.errors import CliError
from stigma_cli.service_process import ServiceProcess
from stigma_cli.stack import Ports, Stack
from stigma_cli.supervision import Supervisor
from stigma_cli.up import print_lost
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from tests.stack.plugin import TemporalServer

PROGRAM = """\
import http.server, os, pathlib, sys
folder = pathlib.Path(os.environ["FOLDER"])
print("begins", flush=True)
if (folder / "broken").exists():
    sys.exit(3)
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if (folder / "slow").exists() else 200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Ready).serve_forever()
"""


@pytest.fixture(autouse=True)
def _without_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_FIRST_PAUSE", timedelta(milliseconds=10))
    monkeypatch.setattr(supervision, "_MAX_PAUSE", timedelta(milliseconds=20))


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    (tmp_path / "small_service.py").write_text(PROGRAM)
    [port] = free_ports(1)
    variables = {"FOLDER": str(tmp_path), "PORT": str(port), "PYTHONPATH": str(tmp_path)}
    own = ServiceProcess("small_service", port, tmp_path / "log", {**os.environ, **variables})
    await own.start()
    await own.wait_ready()
    yield own
    await own.stop()


@dataclass
class Supervised:
    """A supervisor at work, and what it reports."""

    supervisor: Supervisor
    lines: list[str]
    running: asyncio.Task[CliError]

    async def until_restarted(self, count: int) -> None:
        """Return once services were started again so many times."""
        await eventually(lambda: self.supervisor.restarts >= count, what=f"{count} restarts")


@pytest.fixture
async def supervised(service: ServiceProcess) -> AsyncIterator[Supervised]:
    lines: list[str] = []
    supervisor = Supervisor([service], lines.append)
    running = asyncio.create_task(supervisor.run())
    yield Supervised(supervisor, lines, running)
    running.cancel()
    await asyncio.wait([running])


async def test_a_service_that_is_killed_is_ready_again(
    service: ServiceProcess, supervised: Supervised
) -> None:
    supervisor = supervised.supervisor
    for count in (1, 2):
        pid = service.pid
        await supervisor.kill(service)
        await supervised.until_restarted(count)
        assert service.pid != pid
    assert [each.partition(" after ")[0] for each in supervised.lines] == [
        "small_service was killed (SIGKILL); it starts again in 10 ms",
        "small_service is ready again",
    ] * 2
    assert service.log.read_text().count("begins") == 3


async def test_one_that_does_not_start_any_more_is_given_up(
    service: ServiceProcess, supervised: Supervised, tmp_path: Path
) -> None:
    (tmp_path / "broken").touch()
    await supervised.supervisor.kill(service)
    async with asyncio.timeout(60):
        error = await supervised.running
    assert error.message == "small_service ended with exit code 3"
    assert "begins" in error.hint
    pauses = [each.rpartition(" in ")[2] for each in supervised.lines]
    assert pauses == ["10 ms", "20 ms", "20 ms", "20 ms", "20 ms"]
    assert supervised.supervisor.restarts == 0


async def test_one_whose_directory_is_gone_is_given_up(
    service: ServiceProcess, supervised: Supervised, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path)
    await supervised.supervisor.kill(service)
    async with asyncio.timeout(60):
        error = await supervised.running
    assert error.message == f"{tmp_path}: No such file or directory"
    assert error.hint == "small_service ended, and cannot start again"


async def test_kills_at_random_are_counted(supervised: Supervised) -> None:
    supervisor = supervised.supervisor
    chaos = asyncio.create_task(supervisor.kill_at_random(timedelta(milliseconds=1)))
    await supervised.until_restarted(3)
    chaos.cancel()
    await asyncio.wait([chaos])
    [told] = [line for line in supervised.lines if line.startswith("chaos: ")]
    # Since it was told, one may be ready again.
    restarts = {supervisor.restarts - 1, supervisor.restarts}
    assert told in {f"chaos: {supervisor.kills} killed, {n} ready again" for n in restarts}
    assert supervisor.kills - supervisor.restarts in {0, 1}


async def test_nothing_runs_on_that_was_being_started(
    service: ServiceProcess, supervised: Supervised, tmp_path: Path
) -> None:
    first = service.pid
    (tmp_path / "slow").touch()
    await supervised.supervisor.kill(service)
    await eventually(lambda: service.pid != first, what="the next process")
    supervised.running.cancel()
    await asyncio.wait([supervised.running])
    await service.stop()
    own = psutil.Process().children(recursive=True)
    assert not [each for each in own if "small_service" in " ".join(each.cmdline())]


async def test_workflows_that_end_with_the_dev_server_are_counted(
    temporal_server: TemporalServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address, namespace = temporal_server.address, temporal_server.namespace
    client = await Client.connect(address, namespace=namespace)
    lost = await client.start_workflow("Lost", id=uuid.uuid4().hex, task_queue="nobody")

    async def is_counted() -> bool:
        return (await client.count_workflows("WorkflowType = 'Lost'")).count > 0

    await eventually(is_counted)
    ports = Ports.free()
    await print_lost(Stack(tmp_path, ports, temporal=(address, namespace)))
    assert re.fullmatch(
        r"stigma: [0-9,]+ workflows? in Temporal not kept: `stigma up --keep` keeps them\n",
        capsys.readouterr().err,
    )
    await lost.terminate()
    await print_lost(Stack(tmp_path, ports, temporal=("127.0.0.1:1", namespace)))
    assert capsys.readouterr().err == ""
    assert Stack(tmp_path, ports).loses_data
    assert not Stack(tmp_path, ports, keep=True).loses_data
    assert not Stack(tmp_path, ports, temporal=(address, namespace)).loses_data
