"""`stigma run` on a real Temporal server: what it prints and exits with."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stigma_cli.devserver import DevServer
from stigma_cli.errors import Exit
from tests.stack.command_line import run_stigma, running_stigma
from tests.stack.definitions import CALLING, DOCUMENT, RESTING, agent_file, document_file
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from conftest import Stigma
    from tests.stack.stack import Stack


async def test_running_a_document(stigma: Stigma, env: dict[str, str], tmp_path: Path) -> None:
    file = document_file(tmp_path)
    done = await stigma("run", file, "--input", '{"name": "you"}', **env)
    assert (done.exit_code, json.loads(done.stdout)) == (Exit.OK, {"greeting": "hello you"})
    (tmp_path / "input.json").write_text('{"name": "file"}')
    as_json = await stigma("run", file, "-i", f"@{tmp_path}/input.json", "-o", "json", **env)
    assert json.loads(as_json.stdout)["output"] == {"greeting": "hello file"}


async def test_watching_a_run(stigma: Stigma, env: dict[str, str], tmp_path: Path) -> None:
    await stigma("agent", "apply", "-f", agent_file(tmp_path, "watched"), **env)
    file = document_file(tmp_path, CALLING.replace("AGENT", "watched"))
    done = await stigma("run", file, "--watch", **env)
    assert done.exit_code == Exit.OK
    assert done.stdout.splitlines()[-1] == '"done"'
    assert any(line.startswith("ask ") and "completed" in line for line in done.stdout.splitlines())


LARGE = 600_000  # from 512 KiB on the SDK's core warns


async def test_the_output_is_the_output_alone(
    env: dict[str, str], tmp_path: Path, stack: Stack
) -> None:
    """A process of its own: the core writes to its stdout, past Python's."""
    (tmp_path / "large.json").write_text(json.dumps({"name": "x" * LARGE}))
    arguments = ("run", str(document_file(tmp_path)), "--input", f"@{tmp_path}/large.json")
    done = await asyncio.to_thread(run_stigma, arguments, os.environ | env)
    assert done.code == 0, done.stderr
    assert len(json.loads(done.stdout)["greeting"]) == LARGE + len("hello ")
    assert done.stderr.startswith("stigma: started greet-")
    assert len(done.stderr.splitlines()) == 1


async def test_an_interrupted_run_says_how_to_go_on(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    file = document_file(tmp_path, RESTING)
    async with running_stigma("run", str(file), environment=os.environ | env) as command:
        started = await command.note()
        workflow_id = started.removeprefix("stigma: started ").strip()
        command.process.send_signal(signal.SIGINT)
        done = await command.ended()
    assert (done.code, done.stdout) == (130, "")
    assert done.stderr == (
        f"stigma: the run goes on: `temporal workflow result -w {workflow_id}` waits for it, "
        f"`stigma execution cancel {workflow_id}` stops it\n"
    )
    refused = await stigma("execution", "cancel", workflow_id, "--after-step", **env)
    assert refused.exit_code == Exit.USAGE
    cancelled = await stigma("execution", "cancel", workflow_id, "--reason", "enough", **env)
    assert (cancelled.exit_code, cancelled.output) == (0, f"{workflow_id} was asked to stop\n")

    async def ended() -> bool:
        again = await stigma("execution", "cancel", workflow_id, "-o", "json", **env)
        return bool(json.loads(again.output) == {"workflowId": workflow_id, "ended": "CANCELED"})

    await eventually(ended, what="the end of the run")


async def test_only_runs_of_documents_are_cancelled_by_their_ids(
    stigma: Stigma, env: dict[str, str], stack: Stack
) -> None:
    foreign = f"order-{uuid.uuid4()}"
    absent = await stigma("execution", "cancel", foreign, **env)
    assert absent.exit_code == Exit.NOT_FOUND
    assert absent.stderr.startswith(f"error: run {foreign} not found\n")
    handle = await stack.client.start_workflow("Order", id=foreign, task_queue="orders")
    refused = await stigma("execution", "cancel", foreign, **env)
    assert refused.exit_code == Exit.USAGE
    assert f"{foreign} is no run of a document: its task queue is orders" in refused.stderr
    await handle.terminate()
    # The engine's run of an execution stands for that.
    of_execution = await stigma("execution", "cancel", f"run-{'0' * 32}", **env)
    assert of_execution.exit_code == Exit.NOT_FOUND
    assert f"workflow-{'0' * 32} not found" in of_execution.stderr


async def test_a_temporal_that_goes_away_during_a_run_is_one_line(
    tmp_path: Path, temporal_binary: Path
) -> None:
    async with DevServer(temporal_binary) as server:
        environment = os.environ | {"TEMPORAL_ADDRESS": server.address}
        file = str(document_file(tmp_path))
        async with running_stigma("run", file, environment=environment) as command:
            assert (await command.note()).startswith("stigma: started greet-")
            await server.kill()
            done = await command.ended()
    assert (done.code, done.stdout) == (Exit.UNREACHABLE, "")
    first, hint = done.stderr.splitlines()
    assert first == f"error: cannot reach Temporal at {server.address}"
    assert hint.startswith("hint: the run goes on: `temporal workflow result -w greet-")


async def test_tls_where_none_is_spoken_is_named(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    temporal = await stigma("run", document_file(tmp_path), TEMPORAL_TLS="true", **env)
    assert temporal.exit_code == Exit.UNREACHABLE
    assert f"Temporal at {env['TEMPORAL_ADDRESS']} does not speak TLS" in temporal.stderr
    api = await stigma("agent", "list", STIGMA_API_TLS="true", **env)
    assert api.exit_code == Exit.UNREACHABLE
    assert "does not speak TLS" in api.stderr
    authorities = tmp_path / "ca.pem"
    authorities.write_text("no certificate")
    refused = await stigma("agent", "list", STIGMA_API_TLS_CA=str(authorities), **env)
    assert refused.exit_code == Exit.USAGE
    assert (
        refused.stderr
        == f"error: STIGMA_API_TLS_CA: {authorities} is no PEM file of certificates\n"
    )


async def test_labels_are_no_markup(stigma: Stigma, env: dict[str, str], tmp_path: Path) -> None:
    file = agent_file(tmp_path, "marked")
    file.write_text(file.read_text().replace("team: core", 'note: "[/x] [bold]"'))
    assert (await stigma("agent", "apply", "-f", file, **env)).exit_code == Exit.OK
    listed = await stigma("agent", "list", **env)
    assert listed.exit_code == Exit.OK
    assert "note=[/x] [bold]" in listed.output
    await stigma("agent", "delete", "marked", "--yes", **env)


async def test_a_run_that_fails(stigma: Stigma, env: dict[str, str], tmp_path: Path) -> None:
    file = document_file(tmp_path, CALLING.replace("AGENT", "nobody"))
    failed = await stigma("run", file, **env)
    assert failed.exit_code == Exit.FAILED
    assert "agent/failed" in failed.stderr
    assert "NOT_FOUND" in failed.stderr


TWO_MISTAKES = (
    DOCUMENT.replace("hello: {", "hello: {then: nowhere, ")
    + """\
  - again: {set: {x: 1}, then: elsewhere}
"""
)


async def test_a_document_that_is_not_valid_starts_nothing(stigma: Stigma, tmp_path: Path) -> None:
    file = document_file(tmp_path, TWO_MISTAKES)
    # A start would find nobody there, and exit 3.
    refused = await stigma("run", file, TEMPORAL_ADDRESS="127.0.0.1:1")
    assert refused.exit_code == Exit.USAGE
    first, second, hint = refused.stderr.splitlines()
    assert first.startswith(f"error: {file}:3:13: 'nowhere' is neither")
    assert second.startswith(f"error: {file}:4:26: 'elsewhere' is neither")
    assert hint.startswith("hint: nothing was started")


async def test_without_the_engine_here_the_one_that_runs_documents_refuses_them(
    stigma: Stigma, env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stigma_cli.documents._ENGINE", "not_installed")
    file = document_file(tmp_path, TWO_MISTAKES)
    refused = await stigma("run", file, **env)
    assert refused.exit_code == Exit.USAGE, refused.stderr
    assert "'nowhere' is neither" in refused.stderr
    assert "hint: `stigma validate` shows each place" in refused.stderr
    alone = await stigma("validate", file)
    assert alone.exit_code == Exit.FAILED
    assert "is not installed here" in alone.stderr


async def test_an_input_that_does_not_fit_is_bad_input(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    unmet = DOCUMENT + "input: {schema: {document: {type: object}}}\n"
    refused = await stigma("run", document_file(tmp_path, unmet), **env)
    assert refused.exit_code == Exit.USAGE, refused.stderr
    assert "input does not match" in refused.stderr
    assert "with --input" in refused.stderr


async def test_a_task_that_fails_in_the_same_words_is_a_failure(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    title = "Validation Error at /: input does not match: the document is not valid"
    failing = (
        DOCUMENT.split("do:", maxsplit=1)[0]
        + f"do:\n  - fail: {{raise: {{error: {{type: t, status: 400, title: '{title}'}}}}}}\n"
    )
    failed = await stigma("run", document_file(tmp_path, failing), **env)
    assert failed.exit_code == Exit.FAILED
    assert title in failed.stderr


async def test_a_run_that_takes_too_long_goes_on(
    stigma: Stigma, env: dict[str, str], tmp_path: Path, stack: Stack
) -> None:
    file = document_file(tmp_path, RESTING)
    failed = await stigma("run", file, "--timeout", "300ms", **env)
    assert failed.exit_code == Exit.UNREACHABLE
    assert "hint: the run goes on: `temporal workflow result -w greet-" in failed.stderr
    workflow_id = failed.stderr.split()[2]
    await stack.client.get_workflow_handle(workflow_id).terminate()


@pytest.mark.parametrize(
    ("arguments", "text", "expected"),
    [
        (("--input", "{"), DOCUMENT, "the input is not JSON"),
        (("--input", "@/absent"), DOCUMENT, "/absent: No such file"),
        (("--timeout", "soon"), DOCUMENT, "'soon' is not a duration"),
        ((), "a: b", "document.name is missing"),
        ((), "- a", "document.name is missing"),
        ((), "a: [", "document.yaml:1"),
    ],
)
async def test_what_cannot_be_run_is_bad_input(
    stigma: Stigma, tmp_path: Path, arguments: tuple[str, ...], text: str, expected: str
) -> None:
    failed = await stigma("run", document_file(tmp_path, text), *arguments)
    assert failed.exit_code == Exit.USAGE
    assert expected in failed.stderr


async def test_too_large_an_input(stigma: Stigma, env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "big.json").write_text(json.dumps("x" * 2_000_000))
    failed = await stigma("run", document_file(tmp_path), "-i", f"@{tmp_path}/big.json", **env)
    assert failed.exit_code == Exit.USAGE
    assert "the limit is" in failed.stderr
