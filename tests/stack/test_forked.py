"""Programs that are forked behave as those that Python starts itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from tests.stack.forked import ForkedProcess, Streams, start_module, write_stigma
from tests.stack.orphans import orphan_dies

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: forks elsewhere none")

REPORT = """\
import json, os, sys
print(json.dumps([sys.argv[1:], __name__, os.environ["GIVEN"], len(os.environ), os.getcwd()]))
print(sys.stdin.read(), file=sys.stderr)
sys.exit(7)
"""
WAIT = "import sys, time; print('waits', flush=True); time.sleep(600)"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "program.py"


@pytest.fixture
def waiting(module: Path) -> None:
    module.write_text(WAIT)


def _same(**more: str) -> dict[str, str]:
    """The least environment that has what interpreters read as it is here."""
    kept = ("PYTHON", "OTEL_", "LD_", "LC_", "LANG", "TZ", "GRPC_", "MALLOC_")
    return {k: v for k, v in os.environ.items() if k.startswith(kept)} | more


def _ran(environment: dict[str, str]) -> tuple[type, int, str, str]:
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(b"said")
        given.seek(0)
        streams = Streams(given.fileno(), out.fileno(), err.fileno())
        process = start_module("program", ["one", "two"], environment, streams)
        code = process.wait(60)
        out.seek(0)
        err.seek(0)
        return type(process), code, out.read().decode(), err.read().decode()


def test_arguments_environment_streams_and_exit_code_are_the_same(module: Path) -> None:
    module.write_text(REPORT)
    environment = _same(GIVEN="x")
    forked = _ran(environment)
    # A variable that interpreters read at their start.
    plain = _ran(environment | {"PYTHONHASHSEED": "1"})
    assert (forked[0], plain[0]) == (ForkedProcess, subprocess.Popen)
    [arguments, name, given, count, directory] = json.loads(forked[2])
    assert (arguments, name, given) == (["one", "two"], "__main__", "x")
    assert (count, directory) == (len(environment), str(module.parent))
    assert json.loads(plain[2]) == [arguments, name, given, count + 1, directory]
    assert (forked[1], forked[3]) == (plain[1], plain[3]) == (7, "said\n")


def test_a_path_is_heeded_as_at_a_start(module: Path, tmp_path: Path) -> None:
    injected = tmp_path / "injected"
    injected.mkdir()
    (injected / "sitecustomize.py").write_text("import sys; sys.injected = sys.path[0]")
    (injected / "program.py").write_text("import sys; print(sys.path[0], sys.injected)")
    module.write_text("import sys; print('here', sys.path[:2], sys.injected)")
    for more in ({}, {"PYTHONSAFEPATH": "1"}):
        environment = _same(PYTHONPATH=str(injected), **more)
        forked, plain = _ran(environment), _ran(environment | {"PYTHONHASHSEED": "1"})
        assert (forked[0], plain[0]) == (ForkedProcess, subprocess.Popen)
        assert forked[1:] == plain[1:]
        assert str(injected) in forked[2]
        assert forked[2].startswith("here") is not bool(more)


def test_signals_and_waiting(waiting: None) -> None:
    with TemporaryFile() as out, Path(os.devnull).open("rb") as nothing:
        streams = Streams(nothing.fileno(), out.fileno(), out.fileno())
        process = start_module("program", [], _same(), streams)
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM
        assert process.poll() == -signal.SIGTERM
        process.send_signal(signal.SIGTERM)  # has ended: nobody gets it


async def test_it_dies_with_a_starter_that_is_killed(waiting: None) -> None:
    script = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.stack.forked import Streams, start_module\n"
        "nothing = os.open(os.devnull, os.O_RDWR)\n"
        "streams = Streams(nothing, nothing, nothing)\n"
        "print(start_module('program', [], dict(os.environ), streams).pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    assert await orphan_dies(script)


def test_a_starter_that_is_gone_hurts_no_other(waiting: None) -> None:
    for _ in range(20):
        with TemporaryFile() as out, Path(os.devnull).open("rb") as nothing:
            streams = Streams(nothing.fileno(), out.fileno(), out.fileno())
            process = start_module("program", [], _same(), streams)
            assert isinstance(process, ForkedProcess)
            # At the same time as its child ends, or before.
            os.kill(process.pid, signal.SIGKILL)
            process._connection.close()
    test_signals_and_waiting(waiting)


RUN = """\
document: {dsl: '1.0.3', namespace: test, name: greet, version: '1.0.0'}
do:
  - hello: {set: {greeting: hello}}
"""


def test_a_shells_command_is_the_command(tmp_path: Path) -> None:
    write_stigma(tmp_path / "programs")
    (tmp_path / "flow.yaml").write_text(RUN)
    for arguments in (("validate", "flow.yaml"), ("validate", "absent.yaml")):
        forked, plain = (
            subprocess.run(
                [program, *arguments], cwd=tmp_path, capture_output=True, timeout=120, check=False
            )
            for program in (tmp_path / "programs/stigma", Path(sys.executable).with_name("stigma"))
        )
        assert (forked.returncode, forked.stdout, forked.stderr) == (
            plain.returncode,
            plain.stdout,
            plain.stderr,
        )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_shells_command_ends_with_its_signals(tmp_path: Path, number: signal.Signals) -> None:
    write_stigma(tmp_path)
    (tmp_path / "flow.yaml").write_text(RUN)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        command = subprocess.Popen(
            [tmp_path / "stigma", "run", tmp_path / "flow.yaml"],
            env=os.environ | {"TEMPORAL_ADDRESS": address},
        )
        silent.settimeout(120)
        with silent.accept()[0] as connection:  # it is connecting
            command.send_signal(number)
            codes = {signal.SIGINT: 130}
            assert command.wait(60) == codes.get(number, -number)
            connection.settimeout(60)
            while connection.recv(4096):  # until the forked process is gone
                pass
