"""`stigma up` and `stigma demo` as people start them: real processes, signals included."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shutil
import signal
import socket
import stat
import sys
import threading
import urllib.request
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stigma_cli.devserver import free_ports
from stigma_cli.errors import CliError
from stigma_cli.port_claims import taken_text
from stigma_cli.service_process import ServiceProcess
from stigma_cli.stack import SERVICES, Ports, Stack
from stigma_cli.state_directory import LEAST_ROOM
from stigma_cli.up import until_stopped

ROOT = Path(__file__).resolve().parents[3]


def environment(temporal_binary: Path, **more: str) -> dict[str, str]:
    ours = ("STIGMA_", "TEMPORAL_", "OPENAI_", "OTEL_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    env["PATH"] = f"{temporal_binary.parent}{os.pathsep}{env['PATH']}"
    return env | more


def state_files(directory: Path) -> list[Path]:
    return [directory / ".stigma", *(directory / ".stigma").iterdir()]


@asynccontextmanager
async def stigma(
    *arguments: str | Path, env: Mapping[str, str], behind: Sequence[str] = (), **how: Any
) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *behind,
        sys.executable,
        *("-P", "-m", "stigma_cli", *arguments),
        env=dict(env),
        stdin=asyncio.subprocess.DEVNULL,
        **({"stdout": PIPE, "stderr": PIPE} | how),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ready(process: Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise AssertionError((await process.communicate())[1].decode())
    return dict(json.loads(line))


# Of a Temporal and an API elsewhere, in the same shell.
ELSEWHERE = {
    "TEMPORAL_API_KEY": "abc",
    "TEMPORAL_TLS": "true",
    "STIGMA_API_KEY": "abc",
    "STIGMA_API_TLS": "true",
    "STIGMA_PRINCIPALS_FILE": "/absent.yaml",
}
PROFILE = '[profile.default]\naddress = "cloud.example:7233"\napi_key = "abc"\n'


def write_untrusted_checkout(directory: Path) -> None:
    """Write files that do harm when they are imported or run, and a profile of Temporal's."""
    for name in ("queue.py", "token.py", "re2.py"):
        (directory / name).write_text(f"open({str(directory / 'marker')!r}, 'a').write(__name__)\n")
    (directory / ".tools").mkdir()
    (directory / ".tools/temporal").write_text(f"#!/bin/sh\ntouch '{directory}/marker'\n")
    (directory / ".tools/temporal").chmod(0o755)
    (directory / "temporalio").mkdir()
    (directory / "temporalio/temporal.toml").write_text(PROFILE)


async def test_up_serves_until_temporal_ends(temporal_binary: Path, tmp_path: Path) -> None:
    tmp_path = tmp_path / "feature%2Flogin?a=b"
    tmp_path.mkdir()
    write_untrusted_checkout(tmp_path)
    env = environment(temporal_binary)
    foreign = env | ELSEWHERE | {"XDG_CONFIG_HOME": str(tmp_path)}
    async with stigma("up", "--free-ports", "-o", "json", env=foreign, cwd=tmp_path) as process:
        told = await ready(process)
        assert not (tmp_path / "marker").exists()
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in state_files(tmp_path)}
        assert modes.pop(".stigma") == 0o700
        assert "registry.db" in modes
        assert set(modes.values()) == {0o600}
        assert told["temporalUi"].startswith("http://127.0.0.1:")
        page = await asyncio.to_thread(urllib.request.urlopen, f"{told['console']}/executions")
        with page:
            assert b"Nothing has run yet" in page.read()
        assert {each.name for each in (tmp_path / ".stigma").glob("*.log")} == {
            "temporal.log",
            *(f"{name}.log" for name in told["services"]),
        }
        connected = env | {"STIGMA_API_ADDRESS": told["api"], "TEMPORAL_ADDRESS": told["temporal"]}
        async with stigma("doctor", env=connected) as doctor:
            assert await doctor.wait() == 0
        async with stigma("up", "--free-ports", env=env, cwd=tmp_path) as second:
            _, errors = await second.communicate()
            assert second.returncode == 1
            assert errors.decode().startswith("error: another `stigma up` runs in .stigma\n")
        os.kill(told["services"]["ai_worker"]["pid"], signal.SIGKILL)
        assert process.stderr is not None
        restarted = (await process.stderr.readuntil(b"ai_worker is ready again")).decode()
        assert "stigma: executions and sessions end with `stigma up`, agents" in restarted
        assert "ai_worker was killed (SIGKILL); it starts again in 500 ms\n" in restarted
        for name in told["services"]:
            assert f"stigma: {name} is ready after " in restarted
        os.kill(temporal_of(process), signal.SIGKILL)
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert "error: Temporal's dev server ended" in errors.decode()
    log = (tmp_path / ".stigma" / "ai_worker.log").read_text()
    assert log.count('"event": "ready"') == 2, "nothing of the first run is lost"
    for service in told["services"].values():
        with pytest.raises(ProcessLookupError):
            os.kill(service["pid"], 0)


async def test_up_ends_with_temporal_while_the_services_start(
    temporal_binary: Path, tmp_path: Path
) -> None:
    env = environment(temporal_binary)
    async with stigma("up", "--free-ports", env=env, cwd=tmp_path) as process:
        assert process.stderr is not None
        await process.stderr.readuntil(b"starting the services")
        os.kill(temporal_of(process), signal.SIGKILL)
        errors = (await process.communicate())[1].decode()
    assert process.returncode == 1
    assert errors.splitlines()[-2:] == [
        "error: Temporal's dev server ended",
        "hint: see .stigma/temporal.log",
    ]


def temporal_of(stack: Process) -> int:
    children = Path(f"/proc/{stack.pid}/task/{stack.pid}/children").read_text().split()
    [server] = [
        each for each in children if b"start-dev" in Path(f"/proc/{each}/cmdline").read_bytes()
    ]
    return int(server)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_in_order(number: signal.Signals) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:  # as nohup has it, and then it stops nothing
        signal.signal(number, signal.SIG_DFL)
    cleaned = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            cleaned.append(number)

    assert asyncio.run(until_stopped(work())) is False
    assert cleaned == [number]


async def test_a_service_that_cannot_start_is_shown_with_its_reason(
    temporal_binary: Path, tmp_path: Path, temporal_server: Any
) -> None:
    env = environment(
        temporal_binary, TEMPORAL_ADDRESS=temporal_server.address, STIGMA_LOG_LEVEL="LOUD"
    )
    async with stigma("up", "--free-ports", env=env, cwd=tmp_path) as process:
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert "ended with exit code 2" in errors.decode()
    assert "STIGMA_LOG_LEVEL" in errors.decode()


@pytest.mark.parametrize(
    ("last", "message", "hint"),
    [
        ('{"level": "critical", "reason": "no place"}', ": no place", "see {log}"),
        ('{"level": "error", "reason": "no place"}', "", "the end of {log}:\n  first\n  {last}"),
        ("a traceback", "", "the end of {log}:\n  first\n  a traceback"),
    ],
)
def test_a_service_that_says_why_it_ended_is_one_line(
    tmp_path: Path, last: str, message: str, hint: str
) -> None:
    log = tmp_path / "log"
    log.write_text(f"first\n{last}\n")
    error = ServiceProcess("stigma_api", 1, log, {}).ended_error()
    assert error.message == f"stigma_api ended with exit code 0{message}"
    assert error.hint == hint.format(log=log, last=last)


LIMIT_FILE_SIZE = """\
import os, resource, sys
size = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
os.execv(sys.argv[2], sys.argv[2:])
"""


FAILS = """\
document: { dsl: 1.0.3, namespace: examples, name: fails, version: 1.0.0 }
do:
  - fail:
      raise:
        error: { type: https://example.com/paper, status: 400, title: out of paper }
"""


async def test_without_room_nothing_starts(temporal_binary: Path, tmp_path: Path) -> None:
    """A limit of the process stands for a full disk: both refuse a write."""

    env = environment(temporal_binary, TMPDIR=str(tmp_path))
    # Not by a function in the forked process: gRPC, in use here, may abort a process between.
    limited = (sys.executable, "-c", LIMIT_FILE_SIZE, str(LEAST_ROOM // 2))
    up = stigma("up", "--free-ports", env=env, cwd=tmp_path, behind=limited)
    demo = stigma("demo", env=env, cwd=ROOT, behind=limited)
    async with up as first, demo as second:
        (_, of_up), (_, of_demo) = await asyncio.gather(first.communicate(), second.communicate())
    assert (first.returncode, second.returncode) == (1, 1)
    assert of_up.decode() == (
        "error: .stigma: File too large\n"
        "hint: free some room there, or use a directory on another disk\n"
    )
    assert of_demo.decode().startswith(f"error: {tmp_path}/stigma-demo-")
    assert os.listdir(tmp_path) == [".stigma"]  # noqa: PTH208
    assert [each.stat().st_size for each in state_files(tmp_path)[1:]] == [0]


@pytest.mark.parametrize("place", range(5))
def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path, place: int) -> None:
    temporal, ui, api, console, admin = ports = free_ports(5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports[place]))
        taken.listen()
        admins = dict(zip(SERVICES, (admin, *free_ports(3)), strict=True))
        stack = Stack(tmp_path, Ports(temporal, ui, api, admins, console))
        by = f" by .* [(]process {os.getpid()}[)]" if sys.platform == "linux" else ""
        with pytest.raises(CliError, match=f"port {ports[place]} is taken{by}: ") as refused:
            stack.claim()
        assert "--free-ports" in refused.value.hint


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_holder_of_a_port_is_found_while_it_opens_and_closes_files() -> None:
    before = [os.open(os.devnull, os.O_RDONLY) for _ in range(100)]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for each in before:  # numbers below the socket's, which are used from now on
            os.close(each)
        done = threading.Event()
        with ThreadPoolExecutor(1) as other:
            opening = other.submit(_open_and_close, done)
            texts = {taken_text(taken.getsockname()[1]) for _ in range(20)}
            done.set()
            opening.result()
    [text] = texts
    assert f"(process {os.getpid()})" in text


def _open_and_close(done: threading.Event) -> None:
    while not done.is_set():
        for each in [os.open(os.devnull, os.O_RDONLY) for _ in range(100)]:
            os.close(each)


def test_calls_of_documents_may_reach_this_machine(tmp_path: Path) -> None:
    def allowed(environment: dict[str, str]) -> set[str]:
        stack = Stack(tmp_path, Ports(), environment=environment)
        return {each._environment["STIGMA_OUTGOING_ALLOW"] for each in stack.services}

    assert allowed({}) == {"127.0.0.0/8,::1"}
    assert allowed({"STIGMA_OUTGOING_ALLOW": "10.0.0.0/8"}) == {"10.0.0.0/8"}


def test_a_port_is_not_given_twice(tmp_path: Path) -> None:
    stack = Stack(tmp_path, Ports(api=7400, console=7400), temporal=("elsewhere:7233", "default"))
    with pytest.raises(CliError, match="7400 is given to both stigma_api and the console"):
        stack.claim()


async def test_two_that_start_at_once_do_not_share_a_port(tmp_path: Path) -> None:
    """Both find the ports free: nothing listens yet."""
    temporal, ui, api, console, *admin = free_ports(4 + len(SERVICES))
    ports = Ports(temporal, ui, api, dict(zip(SERVICES, admin, strict=True)), console)
    first, second = Stack(tmp_path / "1", ports), Stack(tmp_path / "2", ports)
    first.claim()
    with pytest.raises(CliError, match=f"port {temporal} is taken"):
        second.claim()
    await first.stop()
    second.claim()
    await second.stop()


async def test_what_up_cannot_use_is_one_line(temporal_binary: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    env = environment(temporal_binary, TEMPORAL_ADDRESS="127.0.0.1:1")
    up = ("up", "--free-ports", "--dir")
    async with stigma(*up, "file", env=env, cwd=tmp_path) as process:
        _, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (2, "error: file: File exists\n")
    async with stigma(*up, "directory", env=env, cwd=tmp_path) as process:
        _, errors = await process.communicate()
    assert process.returncode == 3
    assert errors.decode().splitlines() == [
        "error: cannot reach Temporal at 127.0.0.1:1",
        "hint: unset TEMPORAL_ADDRESS to start a dev server",
    ]


async def test_up_uses_the_temporal_that_is_there(
    temporal_binary: Path, tmp_path: Path, temporal_server: Any
) -> None:
    env = environment(
        temporal_binary,
        TEMPORAL_ADDRESS=temporal_server.address,
        STIGMA_TASK_QUEUE_PREFIX=f"{tmp_path.name}-",
    )
    async with stigma("up", "--free-ports", env=env, cwd=tmp_path) as process:
        assert process.stdout is not None
        told = (await process.stdout.readuntil(b"Ctrl-C stops everything.\n")).decode()
        assert temporal_server.address in told
        assert "Temporal's UI" not in told
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    assert not (tmp_path / ".stigma" / "temporal.log").exists()


async def test_the_demo_shows_a_whole_hand_off(temporal_binary: Path) -> None:
    env = environment(temporal_binary)
    async with stigma("demo", "-o", "json", env=env, cwd=ROOT) as process:
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    shown = json.loads(out)
    assert "SQL" in shown["output"]["security"]
    timelines = {each["definitionId"].partition("@")[0]: each for each in shown["timelines"]}
    assert set(timelines) == {"security-reviewer", "style-reviewer"}
    timeline = timelines["style-reviewer"]
    assert timeline["phase"] == "COMPLETED"
    assert not timeline.get("callerUnavailable")
    steps = [each["step"].removeprefix("TIMELINE_STEP_") for each in timeline["entries"]]
    assert steps[0] == "TAKEN"
    assert {"ACKNOWLEDGED", "PENDING", "STARTED", "DELIVERED", "ENDED", "RESUMED"} <= {*steps}
    path = [steps.index(each) for each in ("ACKNOWLEDGED", "DELIVERED", "RESUMED")]
    assert path == sorted(path)
    assert steps.count("MODEL_CALL") == 2


async def test_a_demo_that_fails_says_why(temporal_binary: Path, tmp_path: Path) -> None:
    example = tmp_path / "example"
    shutil.copytree(ROOT / "examples" / "code-review", example)
    (example / "workflow.yaml").write_text(FAILS)
    env = environment(temporal_binary)
    demo = stigma("demo", "--kill", "--example", str(example), "-o", "json", env=env, cwd=tmp_path)
    async with demo as process:
        out, errors = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert errors.decode().splitlines()[-1].startswith("error: fails-")
    assert "out of paper" in errors.decode()
    assert "Traceback" not in errors.decode()


async def test_the_demo_survives_kills_in_the_middle_of_a_model_call(temporal_binary: Path) -> None:
    env = environment(temporal_binary)
    async with stigma("demo", "--kill", "-o", "json", env=env, cwd=ROOT) as process:
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    for name in ("ai_worker", "stigma_orchestrator"):
        assert f"{name} was killed (SIGKILL); it starts again in 500 ms" in errors.decode()
        assert f"{name} is ready again" in errors.decode()
    shown = json.loads(out)
    assert "SQL" in shown["output"]["security"]
    assert [each["phase"] for each in shown["timelines"]] == ["COMPLETED"] * 2
    calls = [
        entry.get("attempt", 1)
        for each in shown["timelines"]
        for entry in each["entries"]
        if entry["step"] == "TIMELINE_STEP_MODEL_CALL"
    ]
    assert len(calls) == 4
    assert 2 in calls, "a call that was under way was made again"


async def test_the_demo_is_live_on_a_terminal_and_uses_a_real_model_when_there_is_a_key(
    temporal_binary: Path, tmp_path: Path
) -> None:
    asked: list[dict[str, Any]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].partition("\r")[0])
        asked.append(json.loads(await reader.readexactly(length)))
        body = json.dumps(_completion(asked[-1]["model"])).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
            + f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    env = environment(
        temporal_binary,
        OPENAI_API_KEY="sk-test",
        OPENAI_BASE_URL=url,
        STIGMA_DEMO_MODEL="little-model",
        TERM="xterm",
        TMPDIR=str(tmp_path),
        COLUMNS="80",
    )
    ours, theirs = pty.openpty()
    async with server, stigma("demo", "--keep-logs", env=env, cwd=ROOT, stdout=theirs) as process:
        os.close(theirs)
        reading = asyncio.create_task(asyncio.to_thread(_read_all, ours))
        assert await process.wait() == 0
        shown = (await reading).decode()
    os.close(ours)
    assert "\x1b[" in shown
    assert '"style": "a real answer"' in shown
    for name in ("security-reviewer", "style-reviewer"):
        assert f"{name}@1  COMPLETED" in re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert {each["model"] for each in asked} == {"little-model"}
    kept = [tmp_path / name for name in os.listdir(tmp_path)]  # noqa: PTH208
    assert any((each / "zigflow_worker.log").exists() for each in kept)


async def test_a_demo_elsewhere_needs_the_example(temporal_binary: Path, tmp_path: Path) -> None:
    env = environment(temporal_binary, TMPDIR=str(tmp_path))
    async with stigma("demo", "--example", str(tmp_path), env=env, cwd=ROOT) as process:
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert "workflow.yaml: No such file or directory" in errors.decode()
    assert "starting" not in errors.decode()


def _completion(model: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": "a real answer"}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6},
    }


def _read_all(terminal: int) -> bytes:
    chunks = []
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    return b"".join(chunks)
