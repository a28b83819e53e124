"""The `stigma` process: what it imports, its streams, its interruption. No server is needed."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import grpc.aio
import pytest

from stigma_cli.errors import Exit
from stigma_cli.server_errors import from_grpc
from tests.stack.command_line import Ran, run_stigma

DOCUMENT = """\
document: {dsl: '1.0.3', namespace: test, name: greet, version: '1.0.0'}
do:
  - hello: {set: {greeting: hello}}
"""
AGENT = """\
apiVersion: stigma/v1
kind: Agent
metadata: {name: fine}
spec: {model: "scripted:test", instructions: "INSTRUCTIONS"}
"""
STIGMA = Path(sys.executable).with_name("stigma")


def without_settings() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("STIGMA_", "TEMPORAL_"))}


def stigma(*arguments: str | bytes, cwd: Path, stdin: str = "", **env: str) -> Ran:
    texts = [os.fsdecode(argument) for argument in arguments]
    return run_stigma(texts, without_settings() | env, stdin, cwd)


def make_hostile(directory: Path) -> None:
    """Put files there that write `marker` when they are imported in place of a package."""
    for name in ("queue.py", "token.py", "re2.py", "stigma_orchestrator.py"):
        (directory / name).write_text(f"open({str(directory / 'marker')!r}, 'a').write(__name__)\n")


def test_validating_runs_no_file_of_the_current_directory(tmp_path: Path) -> None:
    make_hostile(tmp_path)
    (tmp_path / "flow.yaml").write_text(DOCUMENT)
    done = subprocess.run(
        [str(STIGMA), "validate", "flow.yaml"],
        cwd=tmp_path,
        env=without_settings(),
        capture_output=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"flow.yaml is valid\n"), done.stderr
    assert not (tmp_path / "marker").exists()


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(DOCUMENT)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [str(STIGMA), "validate", "flow.yaml"],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=180,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == b"error: the output cannot be written: No space left on device\n"


def test_an_output_without_unicode_loses_no_result(tmp_path: Path) -> None:
    (tmp_path / "größe.yaml").write_text(DOCUMENT)
    text = stigma("validate", "größe.yaml", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert (text.code, text.stdout) == (0, "gr\\xf6\\xdfe.yaml is valid\n"), text.stderr
    wrong = DOCUMENT.partition("do:")[0] + "do: [{größe: {sett: {}}}]\n"
    shown = stigma(
        *("validate", "-", "-o", "json"), cwd=tmp_path, stdin=wrong, PYTHONIOENCODING="ascii"
    )
    assert json.loads(shown.stdout)["problems"][0]["pointer"] == "/do/0/größe"


@pytest.mark.parametrize("imported", ["stigma_cli.app", "typer", "rich.console"])
def test_an_interrupt_while_importing_is_silent(tmp_path: Path, imported: str) -> None:
    """The import of a module interrupts its own process, as a Ctrl-C at that moment does."""
    program = f"""\
import importlib.abc, os, signal, sys
from stigma_cli.__main__ import main
class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {imported!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
sys.argv = ["stigma", "--version"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_an_interrupted_command_is_silent(tmp_path: Path) -> None:
    """`run` waits for a Temporal that accepts connections and says nothing."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [str(STIGMA), "run", "-"],
            cwd=tmp_path,
            env={**os.environ, "TEMPORAL_ADDRESS": address},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(DOCUMENT.encode())
        process.stdin.close()
        process.stdin = None
        with silent.accept()[0]:  # it is connecting
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=180)
    assert (process.returncode, out, errors) == (130, b"", b"")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("up", "--dir", ""), "'--dir': is empty"),
        (("agent", "apply", "-f", ""), "is empty"),
        (("workflow", "start", "x", "--request-id", ""), "'--request-id': is empty"),
        (("workflow", "start", "x", "--timeout", ""), "--timeout: '' is not a duration"),
        (("run", "-", "--timeout", "0"), "--timeout: '0' is not a duration"),
        (("workflow", "start", "x", "-i", "NaN"), "the input has NaN, which is no JSON number"),
        (("workflow", "start", "x", "-i", "[1e400]"), "a number that is too large: 1e400"),
        (("workflow", "start", "x", "-i", '{"a": "\\ud800"}'), "half of a surrogate pair, \\ud800"),
        (
            ("workflow", "start", "x", "-i", "9" * 5000),
            "the input has a number that is too large\n",
        ),
        (("workflow", "start", "x", "-i", b'"\xff"'), "half of a surrogate pair, \\udcff"),
        (("workflow", "start", "x", "-i", "[" * 9000), "the input is nested too deeply"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, arguments: tuple[str | bytes, ...], complaint: str
) -> None:
    done = stigma(*arguments, cwd=tmp_path)
    assert done.code == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: " + "[" * 1000, "stdin: is nested too deeply"),
        (AGENT.replace("INSTRUCTIONS", "half \\ud83d"), "half of a surrogate pair, \\ud83d"),
        (AGENT + "  , \n", "stdin:5:3: expected"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    done = stigma("validate", "-", cwd=tmp_path, stdin=text)
    assert done.code == 2
    assert (done.stderr, len(done.stdout.splitlines())) == ("", 1), done.stdout
    assert complaint in done.stdout


@pytest.mark.parametrize("kind", ["agent", "workflow"])
def test_deleting_asks_on_a_terminal(tmp_path: Path, kind: str) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"n\n")
        done = subprocess.run(
            [str(STIGMA), kind, "delete", "mine\x1b[2J"],
            cwd=tmp_path,
            env={**os.environ, "STIGMA_API_ADDRESS": "127.0.0.1:1"},
            stdin=theirs,
            capture_output=True,
            timeout=180,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert (done.returncode, done.stdout.strip()) == (1, b"")
    asked, error = done.stderr.decode().split("error: ")
    assert asked.startswith(f"Delete all versions of {kind} mine\\x1b[2J? [y/N]:")
    assert error == "nothing was deleted\n"


@pytest.mark.parametrize(
    ("arguments", "text", "complaint"),
    [
        (("run", "-"), AGENT, "hint: kind is Agent: `stigma agent apply` registers it"),
        (("workflow", "apply", "-f", "-"), AGENT, "error: stdin:2:1: kind is Agent: `stigma agent"),
        (
            ("agent", "apply", "-f", "-"),
            DOCUMENT,
            "error: stdin:1:1: is a workflow document: `stigma workflow apply` registers it",
        ),
    ],
)
def test_a_file_of_another_command_is_told_from_a_bad_one(
    tmp_path: Path, arguments: tuple[str, ...], text: str, complaint: str
) -> None:
    done = stigma(*arguments, cwd=tmp_path, stdin=text)
    assert done.code == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith(complaint)
    assert len(done.stderr.splitlines()) == (2 if last.startswith("hint") else 1)


@pytest.mark.parametrize(
    ("variable", "arguments"),
    [("STIGMA_API_ADDRESS", ("agent", "list")), ("TEMPORAL_ADDRESS", ("setup",))],
)
def test_a_url_is_no_address(tmp_path: Path, variable: str, arguments: tuple[str, ...]) -> None:
    done = stigma(*arguments, cwd=tmp_path, **{variable: "http://localhost:7233"})
    assert (done.code, done.stderr.splitlines()) == (
        2,
        [
            f"error: {variable} is a URL: http://localhost:7233",
            "hint: set it to host:port, without http",
        ],
    )


@pytest.mark.parametrize(
    ("details", "hint"),
    [
        ("agent greter not found", "`stigma agent list` shows what there is"),
        ("workflow a@7 not found", "`stigma workflow list` shows what there is"),
        ("execution agent-1 not found", "`stigma execution list` shows what there is"),
        (
            "workflow execution workflow-1 not found",
            "`stigma execution list --workflows` shows what there is",
        ),
        (
            "agent execution hello-1 not found",
            "runs of `stigma run` are in Temporal; `stigma execution list` shows executions",
        ),
        ("something else", ""),
    ],
)
def test_what_is_not_found_says_where_to_look(details: str, hint: str) -> None:
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), grpc.aio.Metadata(), details
    )
    found = from_grpc(error, "localhost:7300")
    assert (found.message, found.hint, found.code) == (details, hint, Exit.NOT_FOUND)


@pytest.mark.parametrize("variable", ["STIGMA_API_TLS_CA", "STIGMA_API_TLS_CLIENT_CERT"])
def test_a_file_of_the_connection_that_is_absent_is_named(tmp_path: Path, variable: str) -> None:
    absent = str(tmp_path / "absent.pem")
    others = {"STIGMA_API_TLS_CLIENT_CERT": absent, "STIGMA_API_TLS_CLIENT_KEY": absent}
    files = others if variable in others else {variable: absent}
    done = stigma("agent", "list", cwd=tmp_path, STIGMA_API_TLS="true", **files)
    assert done.code == 2
    assert done.stderr.startswith(f"error: {absent}: No such file or directory\n")


def test_tls_is_mentioned_where_the_api_is_not_reached(tmp_path: Path) -> None:
    """`localhost` has two addresses; of their errors gRPC gives one, maybe the other one's."""
    done = stigma("agent", "list", cwd=tmp_path, STIGMA_API_ADDRESS="127.0.0.1:1")
    assert "TLS" not in done.stderr
    done = stigma(
        *("agent", "list"), cwd=tmp_path, STIGMA_API_ADDRESS="127.0.0.1:1", STIGMA_API_TLS="true"
    )
    assert done.code == 3
    assert done.stderr.endswith("; see STIGMA_API_TLS and STIGMA_API_TLS_CA\n")


def test_an_input_of_a_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text("{")
    done = stigma("workflow", "start", "x", "--input", "@in.json", cwd=tmp_path)
    assert done.code == 2
    assert done.stderr.startswith("error: the input in in.json is not JSON: ")
