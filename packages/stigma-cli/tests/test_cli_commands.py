"""Commands against a real API and a real Temporal server: what they print and exit with."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stigma_cli.definition_files import agents_of
from stigma_cli.devserver import DevServer
from stigma_cli.document_warnings import silent_steps
from stigma_cli.errors import Exit
from tests.stack.command_line import run_stigma, running_stigma
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from conftest import Stigma
    from tests.stack.stack import Stack

KEY = "open-sesame"

AGENT = """\
apiVersion: stigma/v1
kind: Agent
metadata: {name: NAME, labels: {team: core}}
spec:
  description: A test.
  model: scripted:test
  script: {steps: [{text: "hm", pause: true}, {text: "done", delay: DELAY}]}
"""

DOCUMENT = """\
document: {dsl: '1.0.3', namespace: test, name: greet, version: '1.0.0'}
do:
  - hello: {set: {greeting: '${ "hello \\(.name)" }'}}
"""

RESTING = DOCUMENT.split("do:", maxsplit=1)[0] + "do:\n  - rest: {wait: {seconds: 600}}\n"

CALLING = """\
document: {dsl: '1.0.3', namespace: test, name: asks, version: '1.0.0'}
do:
  - ask: {call: agent, with: {agent: AGENT, message: hi}}
"""


def agent_file(directory: Path, name: str, delay: str = "0s") -> Path:
    file = directory / f"{name}.yaml"
    file.write_text(AGENT.replace("NAME", name).replace("DELAY", delay))
    return file


def document_file(directory: Path, text: str = DOCUMENT) -> Path:
    file = directory / "document.yaml"
    file.write_text(text)
    return file


async def test_an_agents_life(stigma: Stigma, env: dict[str, str], tmp_path: Path) -> None:
    file = agent_file(tmp_path, "living")
    assert (await stigma("agent", "apply", "-f", file, "--dry-run", **env)).output == (
        "living is valid\n"
    )
    assert (await stigma("agent", "get", "living", **env)).exit_code == Exit.NOT_FOUND
    applied = await stigma("agent", "apply", "-f", file, **env)
    assert (applied.exit_code, applied.output) == (Exit.OK, "living@1 applied\n")
    same = await stigma("agent", "apply", "-f", file, **env)
    assert (same.exit_code, same.output) == (Exit.OK, "living@1 unchanged\n")
    again = await stigma("agent", "apply", "-f", "-", "-o", "json", stdin=file.read_text(), **env)
    assert json.loads(again.output)["agents"][0]["version"] == "1"
    shown = await stigma("agent", "get", "living", **env)
    assert "name:         living@1\n" in shown.output
    assert (
        json.loads((await stigma("agent", "get", "living@1", "-o", "json", **env)).output)["spec"][
            "description"
        ]
        == "A test."
    )
    listed = await stigma("agent", "list", **env)
    assert "living" in listed.output
    assert "team=core" in listed.output
    named = json.loads((await stigma("agent", "list", "-o", "json", **env)).output)
    assert "living" in [agent["name"] for agent in named["agents"]]
    refused = await stigma("agent", "delete", "living", **env)
    assert (refused.exit_code, refused.stderr) == (
        Exit.USAGE,
        "error: will not delete all versions of agent living without --yes\n",
    )
    deleted = await stigma("agent", "delete", "living", "--yes", **env)
    assert deleted.output == "living deleted\n"
    gone = await stigma("agent", "delete", "living", "-y", "-o", "json", **env)
    assert gone.exit_code == Exit.NOT_FOUND


async def test_deleting_prints_json(stigma: Stigma, env: dict[str, str], tmp_path: Path) -> None:
    await stigma("agent", "apply", "-f", agent_file(tmp_path, "short-lived"), **env)
    deleted = await stigma("agent", "delete", "short-lived", "-y", "-o", "json", **env)
    assert json.loads(deleted.output) == {"deleted": "short-lived"}


async def test_what_the_api_refuses_is_bad_input(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    file = agent_file(tmp_path, "UPPER")
    refused = await stigma("agent", "apply", "-f", file, **env)
    assert refused.exit_code == Exit.USAGE
    assert refused.stderr.startswith(f"error: {file}:3:12: must be 1 to 63")
    assert refused.stderr.endswith(" (/metadata/name)\n")


MISTAKEN = """\
apiVersion: stigma/v1
kind: Agent
metadata: {name: fine}
spec: {model: "scripted:x"}
---
apiVersion: stigma/v1
kind: Agent
metadata:
  name: mistaken
  labels:
    a_b: "it's"
spec:
  model: scripted:x
  tools:
    - name: final_result
      activity: {type: A, task_queue: q}
    - {name: y, activity: {type: A}, policy: {retrySafe: true, attempts: 500}}
    - name: z
      mcp: {server: notes}
"""


async def test_each_mistake_that_the_api_finds_is_a_line_with_its_place(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "mistaken.yaml"
    file.write_text(MISTAKEN)
    refused = await stigma("agent", "apply", "-f", file, "--dry-run", **env)
    assert refused.exit_code == Exit.USAGE
    assert refused.stdout == ""
    assert [line.removeprefix("error: ") for line in refused.stderr.splitlines()] == [
        f"{file}:11:5: has quotes, apostrophes, backslashes or control characters "
        "(/metadata/labels/a_b)",
        f"{file}:15:7: final_result is reserved: by it models give their output "
        "(/spec/tools/0/name)",
        f"{file}:17:17: must be given, without control characters "
        "(/spec/tools/1/activity/taskQueue)",
        f"{file}:17:64: must be from 1 to 100 (/spec/tools/1/policy/attempts)",
        f"{file}:18:7: must be empty: the MCP server says it of each of its tools "
        "(/spec/tools/2/name)",
    ]


async def test_a_workflow_of_a_tool_that_is_not_registered_says_how_to_register_it(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "clerk.yaml"
    tool = "{name: quote, workflow: {name: absent}}"
    file.write_text(
        f"{MISTAKEN.partition('spec:')[0]}spec: {{model: 'scripted:x', tools: [{tool}]}}"
    )
    refused = await stigma("agent", "apply", "-f", file, **env)
    assert refused.stderr.splitlines() == [
        f"error: {file}: workflow absent of tool quote is not registered",
        "hint: `stigma workflow apply` registers it",
    ]


async def test_what_the_ai_worker_reads_is_not_taken_for_a_document(
    stigma: Stigma, tmp_path: Path
) -> None:
    file = tmp_path / "servers.yaml"
    server = "apiVersion: stigma/v1\nkind: McpServer\nmetadata: {name: time}\nspec: {}\n"
    file.write_text(f"{server}---\n{server.replace('McpServer', 'Provider')}")
    reads = "the AI worker reads it (STIGMA_PROVIDERS_FILE), and checks it as it starts"
    lines = [
        f"{file}:2:1: kind is McpServer: {reads} (/kind)",
        f"{file}:7:1: kind is Provider: {reads} (/kind)",
    ]
    validated = await stigma("validate", file)
    assert (validated.exit_code, validated.stderr) == (Exit.USAGE, "")
    assert validated.stdout.splitlines() == lines
    refused = await stigma("agent", "apply", "-f", file)
    assert (refused.exit_code, refused.stdout) == (Exit.USAGE, "")
    assert refused.stderr.splitlines() == [f"error: {line}" for line in lines]


async def test_a_mistake_in_a_file_is_one_line(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("apiVersion: stigma/v1\nkind: Agent\nmetadata: {name: a}\nspec: {modle: x}\n")
    refused = await stigma("agent", "apply", "-f", file, **env)
    assert refused.exit_code == Exit.USAGE
    assert refused.stderr.startswith(f"error: {file}:4:8: unknown key 'modle'")
    assert len(refused.stderr.splitlines()) == 1


async def test_an_unreachable_api(stigma: Stigma) -> None:
    failed = await stigma("agent", "list", STIGMA_API_ADDRESS="127.0.0.1:1")
    assert failed.exit_code == Exit.UNREACHABLE
    assert failed.stderr.splitlines() == [
        "error: cannot reach Stigma's API at 127.0.0.1:1",
        "hint: start it with `stigma up`, or set STIGMA_API_ADDRESS",
    ]


async def test_a_key_is_not_sent_in_clear(stigma: Stigma) -> None:
    failed = await stigma(
        "agent", "list", STIGMA_API_ADDRESS="api.example:1", STIGMA_API_KEY="sesame"
    )
    assert failed.exit_code == Exit.USAGE
    assert "sesame" not in failed.stderr


@pytest.mark.parametrize("key", ["gehäim", "two\nlines", "esc\x1b"])
async def test_a_key_that_cannot_be_sent_is_refused(stigma: Stigma, key: str) -> None:
    for command in (("agent", "list"), ("execution", "watch", "agent-0")):
        failed = await stigma(*command, STIGMA_API_KEY=key)
        assert failed.exit_code == Exit.USAGE
        assert failed.stderr == "error: STIGMA_API_KEY has characters that cannot be sent\n"


async def test_an_unreachable_temporal(stigma: Stigma, tmp_path: Path) -> None:
    failed = await stigma("run", document_file(tmp_path), TEMPORAL_ADDRESS="127.0.0.1:1")
    assert failed.exit_code == Exit.UNREACHABLE
    assert "cannot reach Temporal at 127.0.0.1:1" in failed.stderr
    malformed = await stigma("run", document_file(tmp_path), TEMPORAL_ADDRESS="no:port:x")
    assert malformed.exit_code == Exit.USAGE
    assert "error: no:port:x is not an address of Temporal: " in malformed.stderr


async def test_keys_and_permissions(stigma: Stigma, new_stack: Any, tmp_path: Path) -> None:
    principals = tmp_path / "principals.yaml"
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    principals.write_text(
        f"principals:\n  - name: reader\n    key_sha256: [{digest}]\n    actions: [agents.read]\n"
    )
    guarded = await new_stack(
        services=("stigma_api",),
        environment={"stigma_api": {"STIGMA_PRINCIPALS_FILE": str(principals)}},
    )
    address = guarded.api_address
    none = await stigma("agent", "list", STIGMA_API_ADDRESS=address)
    assert none.exit_code == Exit.PERMISSION
    wrong = await stigma("agent", "list", STIGMA_API_ADDRESS=address, STIGMA_API_KEY="guess")
    assert wrong.exit_code == Exit.PERMISSION
    assert "hint: set STIGMA_API_KEY to a valid key" in wrong.stderr
    right = await stigma("agent", "list", STIGMA_API_ADDRESS=address, STIGMA_API_KEY=KEY)
    assert right.exit_code == Exit.OK
    file = agent_file(tmp_path, "forbidden")
    denied = await stigma(
        "agent", "apply", "-f", file, STIGMA_API_ADDRESS=address, STIGMA_API_KEY=KEY
    )
    assert denied.exit_code == Exit.PERMISSION


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


async def test_validating(stigma: Stigma, tmp_path: Path) -> None:
    file = document_file(tmp_path)
    assert (await stigma("validate", file)).output == f"{file} is valid\n"
    valid = await stigma("validate", "-", "-o", "json", stdin=file.read_text())
    stdin = {"file": "stdin", "valid": True}
    assert valid.exit_code == Exit.OK
    assert json.loads(valid.output) == {"valid": True, "files": [stdin], "problems": []}
    bad = document_file(tmp_path, DOCUMENT.replace("set:", "sett:"))
    refused = await stigma("validate", bad)
    assert refused.exit_code == Exit.USAGE
    assert refused.output.startswith(f"{bad}:3:5: expected a task")
    as_json = await stigma("validate", "-", "-o", "json", stdin=bad.read_text())
    assert as_json.exit_code == Exit.USAGE
    assert json.loads(as_json.output)["problems"][0]["pointer"] == "/do/0/hello"
    assert (await stigma("validate", tmp_path / "absent")).exit_code == Exit.USAGE


async def test_validating_agents(stigma: Stigma, tmp_path: Path) -> None:
    agent = agent_file(tmp_path, "fine")
    assert (await stigma("validate", agent)).output == "fine is valid\n"
    as_json = await stigma("validate", "-", "-o", "json", stdin=agent.read_text())
    found = json.loads(as_json.output)
    assert (found["valid"], found["problems"], found["agents"]) == (True, [], ["fine"])


SCRIPTED = """\
apiVersion: stigma/v1
kind: Agent
metadata: {name: NAME}
spec:
  model: scripted:test
  MORE
  script: {steps: STEPS}
"""
ANSWERS = "[{text: one}, {text: two, pause: true}, {text: three}]"


async def test_validating_warns_of_agents_that_are_not_registered(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    file = document_file(tmp_path, CALLING.replace("AGENT", "nobody-knows-it"))
    warning = f"{file}:3: agent nobody-knows-it is not registered"
    known = await stigma("validate", file, **env)
    assert (known.exit_code, known.stdout) == (0, f"{file} is valid\n")
    assert known.stderr == f"stigma: warning: {warning}\n"
    as_json = json.loads((await stigma("validate", file, "-o", "json", **env)).output)
    assert (as_json["valid"], as_json["warnings"]) == (True, [warning])
    nobody = await stigma("validate", file, STIGMA_API_ADDRESS="127.0.0.1:1")
    assert (nobody.exit_code, nobody.output) == (0, f"{file} is valid\n")
    named = document_file(tmp_path, CALLING.replace("AGENT", "'${ .agent }'"))
    assert (await stigma("validate", named, **env)).output == f"{named} is valid\n"


@pytest.mark.parametrize(
    ("more", "steps", "silent"),
    [
        ("", ANSWERS, "steps 2 to 3 of the script never play: step 1 is an answer"),
        ("limits: {steps: 2}", ANSWERS, "step 3 of the script never plays: its limit is 2 steps"),
        ("outputSchema: {type: integer}", ANSWERS, ""),
        ("", "[{text: one, pause: true}, {text: two}]", ""),
        ("", "[{failure: {reason: INTERNAL, attempts: 1}}, {text: two}]", ""),
        (
            "tools: [{name: ask, question: {}}]",
            "[{toolCalls: [{name: ask, argumentsJson: {}}]}, {text: x}, {text: y}]",
            "step 3 of the script never plays: step 2 is an answer, which ends the execution, but",
        ),
    ],
)
def test_steps_of_a_script_that_never_play_are_found(more: str, steps: str, silent: str) -> None:
    text = SCRIPTED.replace("NAME", "played").replace("MORE", more).replace("STEPS", steps)
    [agent] = agents_of("agent.yaml", text)
    found = silent_steps(agent)
    assert [each[: len(silent)] for each in found] == ([silent] if silent else [])


async def test_validating_agents_by_the_rules_of_the_api(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "agents.yaml"
    calls = "tools: [{name: sub, agent: {agent: not-there}}]"
    agent = SCRIPTED.replace("STEPS", "[{text: x}, {text: y}]")
    file.write_text(agent.replace("NAME", "caller").replace("MORE", calls))
    warned = await stigma("validate", file, **env)
    assert (warned.exit_code, warned.stdout) == (0, "caller is valid\n"), warned.stderr
    assert warned.stderr.splitlines() == [
        f"stigma: warning: {file} (caller): step 2 of the script never plays: step 1 is an answer, "
        "which ends the execution, but for messages sent while it is given",
        f"stigma: warning: {file} (caller): agent not-there is not registered",
    ]
    file.write_text(agent.replace("NAME", "Wrong").replace("MORE", "limits: {steps: -1}"))
    refused = await stigma("validate", file, **env)
    assert refused.exit_code == Exit.USAGE
    first, second = refused.stdout.splitlines()
    assert first.startswith(f"{file}:3:12: must be 1 to 63")
    assert second.startswith(f"{file}:6:12: must be")
    assert second.endswith(" (/spec/limits/steps)")
    text = agent.replace("MORE", "").replace("NAME", "lower")
    lower = await stigma("validate", "-", stdin=text.replace("kind: Agent", "kind: agent"))
    assert lower.exit_code == Exit.USAGE
    assert "kind" in lower.stdout
    assert "apiVersion" not in lower.stdout


async def test_an_agent_is_shown_with_its_versions_and_what_changed(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "agent.yaml"
    for text in ("one", "two", "three"):
        agent = SCRIPTED.replace("NAME", "grown").replace("MORE", f"instructions: say {text}")
        file.write_text(agent.replace("STEPS", "[{text: x}]"))
        await stigma("agent", "apply", "-f", file, **env)
    shown = (await stigma("agent", "show", "grown", **env)).output
    assert shown.startswith("grown@3, applied ")
    assert "\ninstructions: say three\n" in shown
    assert [line.split()[0] for line in shown.splitlines()[-3:]] == ["@3", "@2", "@1"]
    limited = (await stigma("agent", "show", "grown@2", "--versions", "2", **env)).output
    assert "say two" in limited
    assert limited.endswith("(the newest 2; see --versions)\n")
    as_json = json.loads((await stigma("agent", "show", "grown", "-o", "json", **env)).output)
    assert [each["version"] for each in as_json["versions"]] == [3, 2, 1]
    changed = (await stigma("agent", "show", "grown", "--diff", "1", "3", **env)).output
    assert changed.splitlines()[:2] == ["--- grown@1", "+++ grown@3"]
    assert "\n-instructions: say one\n+instructions: say three\n" in changed
    same = await stigma("agent", "show", "grown", "--diff", "2", "2", "-o", "json", **env)
    assert json.loads(same.output) == {"from": 2, "to": 2, "changes": []}
    both = await stigma("agent", "show", "grown@1", "--diff", "1", "2", **env)
    assert both.exit_code == Exit.USAGE
    assert (await stigma("agent", "show", "absent", **env)).exit_code == Exit.NOT_FOUND


async def test_agents_are_read_only_where_the_api_is_not_installed(
    stigma: Stigma, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = agent_file(tmp_path, "fine")
    monkeypatch.setattr("stigma_cli.definition_rules._API", "stigma_nothing")
    assert (await stigma("validate", file)).output.startswith("fine is well formed (the API")
    monkeypatch.setattr("stigma_cli.definition_rules._API", "json.tool")
    failed = await stigma("validate", file)
    assert failed.exit_code == Exit.FAILED
    assert failed.stderr.startswith("error: json.tool cannot check the agents: ")


async def test_an_engine_that_cannot_check_says_so(
    stigma: Stigma, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stigma_cli.documents._ENGINE", "json.tool")
    failed = await stigma("validate", document_file(tmp_path))
    assert failed.exit_code == Exit.FAILED
    assert failed.stderr.startswith("error: json.tool cannot check the document: ")


async def start_agent(stack: Stack, tmp_path: Path, stigma: Stigma, env: Any, delay: str) -> str:
    name = f"agent-{delay}"
    await stigma("agent", "apply", "-f", agent_file(tmp_path, name, delay), **env)
    from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest

    request = StartAgentRequest(agent_id=name, message="hi", session_id=name)
    return (await stack.executions.StartAgent(request)).id


async def test_following_an_execution(
    stigma: Stigma, env: dict[str, str], stack: Stack, tmp_path: Path
) -> None:
    execution = await start_agent(stack, tmp_path, stigma, env, "10ms")
    watched = await stigma("execution", "watch", execution, **env)
    assert watched.exit_code == Exit.OK
    assert "model call 1 answered: hm" in watched.output
    assert watched.output.splitlines()[-1].endswith("COMPLETED done")
    lines = (await stigma("execution", "watch", execution, "-o", "json", **env)).output.splitlines()
    assert "ended" in json.loads(lines[-1])
    rest = await stigma(
        "execution", "watch", execution, "--cursor", json.loads(lines[-2])["cursor"], **env
    )
    assert len(rest.output.splitlines()) == 1
    shown = await stigma("execution", "get", execution, "--full", **env)
    assert "phase:    COMPLETED" in shown.output
    assert "model: done" in shown.output
    as_json = await stigma("execution", "get", execution, "-o", "json", **env)
    assert json.loads(as_json.output)["status"]["output"]["text"] == "done"
    ended = await stigma("execution", "cancel", execution, **env)
    assert ended.output == f"{execution} had ended: COMPLETED\n"


async def test_cancelling_an_execution(
    stigma: Stigma, env: dict[str, str], stack: Stack, tmp_path: Path
) -> None:
    execution = await start_agent(stack, tmp_path, stigma, env, "300s")
    cancelled = await stigma("execution", "cancel", execution, "--reason", "enough", **env)
    assert cancelled.output == f"{execution} was asked to stop\n"
    watched = await stigma("execution", "watch", execution, **env)
    assert watched.exit_code == Exit.FAILED
    assert watched.output.splitlines()[-1].endswith("  CANCELLED: enough")
    shown = await stigma("execution", "get", execution, **env)
    assert "outcome:  CANCELLED" in shown.output
    again = await stigma("execution", "cancel", execution, "-o", "json", **env)
    assert json.loads(again.output)["status"]["phase"] == "AGENT_EXECUTION_PHASE_CANCELLED"


async def test_listing_executions(
    stigma: Stigma, env: dict[str, str], stack: Stack, tmp_path: Path
) -> None:
    execution = await start_agent(stack, tmp_path, stigma, env, "1ms")
    await stigma("execution", "watch", execution, **env)
    query = ("--filter", 'session = "agent-1ms"')

    # Temporal's visibility is behind its histories by a moment.
    async def listed_text() -> bool:
        return execution in (await stigma("execution", "list", *query, **env)).output

    await eventually(listed_text, what="listed")
    listed = await stigma("execution", "list", *query, "-o", "json", **env)
    assert [each["id"] for each in json.loads(listed.output)["executions"]] == [execution]
    wrong = await stigma("execution", "list", "--filter", "colour = blue", **env)
    assert wrong.exit_code == Exit.USAGE


async def test_an_unknown_execution(stigma: Stigma, env: dict[str, str]) -> None:
    for command in ("get", "watch", "cancel"):
        assert (await stigma("execution", command, "agent-0", **env)).exit_code == Exit.NOT_FOUND


async def test_setup_is_idempotent(stigma: Stigma, env: dict[str, str]) -> None:
    assert (await stigma("setup", **env)).exit_code == Exit.OK
    again = await stigma("setup", "-o", "json", **env)
    assert json.loads(again.output) == {
        "namespace": env["TEMPORAL_NAMESPACE"],
        "changed": [],
        "advice": None,
    }
    assert "nothing to do" in (await stigma("setup", **env)).output


@pytest.mark.parametrize("retention", ["1h", "soon"])
async def test_too_short_a_retention_is_refused(stigma: Stigma, retention: str) -> None:
    assert (await stigma("setup", "--retention", retention)).exit_code == Exit.USAGE


async def test_a_doctor_finds_nothing(stigma: Stigma, env: dict[str, str]) -> None:
    checked = await stigma("doctor", **env)
    assert checked.exit_code == Exit.OK, checked.output
    assert "WRONG" not in checked.output
    assert json.loads((await stigma("doctor", "-o", "json", **env)).output)["ok"] is True


async def test_a_doctor_says_what_to_do(stigma: Stigma, env: dict[str, str]) -> None:
    nowhere = env | {"STIGMA_API_ADDRESS": "127.0.0.1:1", "STIGMA_TASK_QUEUE_PREFIX": "nobody-"}
    checked = await stigma("doctor", "-o", "json", **nowhere)
    assert checked.exit_code == Exit.FAILED
    wrong = {
        each["name"]: each["fix"] for each in json.loads(checked.output)["checks"] if each["fix"]
    }
    assert "stigma up" in wrong["api"]
    assert wrong["task queue nobody-stigma-ai"].startswith("start ai_worker")
    down = await stigma("doctor", **(env | {"TEMPORAL_ADDRESS": "127.0.0.1:1"}))
    assert down.exit_code == Exit.FAILED
    assert "cannot reach Temporal" in down.output


async def test_a_new_namespace_is_set_up(
    stigma: Stigma, env: dict[str, str], temporal_binary: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        str(temporal_binary),
        *("operator", "namespace", "create", "-n", "fresh", "--retention", "24h"),
        *("--address", env["TEMPORAL_ADDRESS"]),
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    fresh = env | {"TEMPORAL_NAMESPACE": "fresh"}

    async def set_up() -> Any:
        done = await stigma("setup", "-o", "json", **fresh)
        return json.loads(done.output) if done.exit_code == Exit.OK else None

    # A new namespace reaches the server's cache after a while.
    done = await eventually(set_up, what="set up")
    assert "search attribute StigmaAgent registered" in done["changed"]
    assert done["advice"].startswith("closed executions are kept 1 day, ")
    assert not any("retention" in change for change in done["changed"])
    told = await stigma("setup", **fresh)
    assert (told.exit_code, told.output) == (Exit.OK, f"fresh: {done['advice']}\n")
    raised = await stigma("setup", "--raise-retention", **fresh)
    assert raised.output == "fresh: retention raised from 1 day to 3 days\n"
    assert "nothing to do" in (await stigma("setup", **fresh)).output


async def test_usage_mistakes_exit_2(stigma: Stigma) -> None:
    assert (await stigma("fly")).exit_code == Exit.USAGE
    assert (await stigma("agent", "get")).exit_code == Exit.USAGE
    assert (await stigma("run", "x", "-o", "xml")).exit_code == Exit.USAGE


async def test_the_version(stigma: Stigma) -> None:
    assert (await stigma("--version")).output.startswith("stigma 0.")
