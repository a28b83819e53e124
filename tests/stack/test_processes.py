"""Starting, watching and ending a service's process, with a stand-in for the service."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from stigma_cli.devserver import free_ports
from tests.stack.orphans import orphan_dies
from tests.stack.processes import ServiceProcess
from tests.stack.service import ServiceError

STAND_IN = Path(__file__).with_name("stand_in.py")
StartStandIn = Callable[..., ServiceProcess]


@pytest.fixture
async def stand_in(tmp_path: Path) -> AsyncIterator[StartStandIn]:
    started: list[ServiceProcess] = []

    def start(**variables: str) -> ServiceProcess:
        [admin_port] = free_ports(1)
        process = ServiceProcess(
            "stand_in",
            {**os.environ, "STIGMA_ADMIN_PORT": str(admin_port), **variables},
            tmp_path / "stand_in.log",
            admin_port=admin_port,
            command=[sys.executable, str(STAND_IN)],
        )
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        await process.kill()


async def test_its_life(stand_in: StartStandIn) -> None:
    process = stand_in()
    await process.wait_ready()
    event = await process.log.wait_for("started", pid=process.pid)
    assert event["pid"] == process.pid
    assert await process.stop() == 0
    assert process.log.events("stopped", pid=process.pid)
    assert not process.running


async def test_killed_and_started_again_on_the_same_port(stand_in: StartStandIn) -> None:
    process = stand_in()
    await process.wait_ready()
    first, seen = process.pid, process.log.position()
    await process.kill()
    assert process.returncode == -signal.SIGKILL
    process.start()
    await process.wait_ready()
    assert (await process.log.wait_for("started", since=seen))["pid"] == process.pid != first


async def test_an_exit_before_it_is_ready_shows_the_log(stand_in: StartStandIn) -> None:
    process = stand_in(STAND_IN_CRASH="no registry")
    with pytest.raises(ServiceError, match="cannot start: no registry"):
        await process.wait_ready()


async def test_an_event_that_does_not_come(stand_in: StartStandIn) -> None:
    process = stand_in()
    await process.wait_ready()
    with pytest.raises(TimeoutError, match=r"event delivered .*\n.*started"):
        await process.log.wait_for("delivered", within=timedelta(milliseconds=50))


async def test_a_process_deaf_to_sigterm_is_killed(stand_in: StartStandIn) -> None:
    process = stand_in()
    await process.wait_ready()
    await process.send(signal.SIGSTOP)
    with pytest.raises(ServiceError, match="did not end"):
        await process.stop(within=timedelta(milliseconds=200))
    assert process.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: parent-death signals are its own")
async def test_it_dies_with_a_starter_that_is_killed() -> None:
    script = (
        "import subprocess, sys\n"
        "from stigma_cli.child_process import bound_to_parent\n"
        "child = subprocess.Popen(bound_to_parent(['sleep', '600']))\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    assert await orphan_dies(script, name="sleep")
