"""`stigma workflow` against a real engine: a workflow from its file to its output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from ruamel.yaml import YAML

from stigma_cli.definition_checks import workflows_to_apply
from stigma_cli.errors import CliError, Exit
from stigma_cli.server_errors import from_grpc
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from conftest import Stigma
    from tests.stack.stack import Stack

DOCUMENT = """\
document: {dsl: '1.0.3', namespace: test, name: NAME, version: '1.0.0'}
do:
  - hello: {set: {greeting: '${ "hello \\(.name)" }', number: '${ .number }'}}
"""

WAITING = """\
document: {dsl: '1.0.3', namespace: test, name: waiting, version: '1.0.0'}
do:
  - pause: {wait: PT1H}
"""

RAISING = """\
document: {dsl: '1.0.3', namespace: test, name: raising, version: '1.0.0'}
do:
  - fail: {raise: {error: {type: 'https://example.com/wrong', status: 418, title: Teapot}}}
"""

ENVELOPE = """\
apiVersion: stigma/v1
kind: Workflow
metadata: {name: wrapped, labels: {team: core}}
spec:
  description: Says hello.
  limits: {timeout: 5m}
  document:
    document: {dsl: '1.0.3', namespace: test, name: inside, version: '1.0.0'}
    do:
      - hello: {set: {greeting: hello}}
"""


@pytest.fixture(scope="module")
async def env(stack: Stack) -> dict[str, str]:
    """The environment that points the command at the stack."""
    return {"STIGMA_API_ADDRESS": stack.api_address}


def written(directory: Path, text: str) -> Path:
    file = directory / "workflow.yaml"
    file.write_text(text)
    return file


async def applied(stigma: Stigma, env: dict[str, str], directory: Path, text: str) -> str:
    done = await stigma("workflow", "apply", "-f", written(directory, text), **env)
    assert done.exit_code == Exit.OK, done.output
    return str(done.output).partition("@")[0]


async def test_a_workflows_life(stigma: Stigma, env: dict[str, str], tmp_path: Path) -> None:
    file = written(tmp_path, DOCUMENT.replace("NAME", "living"))
    dry = await stigma("workflow", "apply", "-f", file, "--dry-run", **env)
    assert dry.output == "living is valid\n"
    assert (await stigma("workflow", "get", "living", **env)).exit_code == Exit.NOT_FOUND
    assert (await stigma("workflow", "apply", "-f", file, **env)).output == "living@1 applied\n"
    again = await stigma(
        "workflow", "apply", "-f", "-", "-o", "json", stdin=file.read_text(), **env
    )
    assert json.loads(again.output)["workflows"][0]["version"] == "1"
    file.write_text(file.read_text() + "# another text\n")
    assert (await stigma("workflow", "apply", "-f", file, **env)).output == "living@2 applied\n"

    shown = await stigma("workflow", "get", "living", **env)
    assert "name:         living@2\n" in shown.output
    assert shown.output.endswith("# another text\n")
    first = await stigma("workflow", "get", "living@1", "-o", "json", **env)
    assert "another" not in json.loads(first.output)["spec"]["document"]
    assert "living" in (await stigma("workflow", "list", **env)).output
    listed = json.loads((await stigma("workflow", "list", "-o", "json", **env)).output)
    assert [each["version"] for each in listed["workflows"] if each["name"] == "living"] == ["2"]
    assert (
        await stigma("workflow", "delete", "living", "--yes", **env)
    ).output == "living deleted\n"
    assert (
        await stigma("workflow", "delete", "living", "--yes", **env)
    ).exit_code == Exit.NOT_FOUND


async def test_an_envelope_with_its_document_inside(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    file = written(tmp_path, ENVELOPE)
    assert (await stigma("validate", file)).output == f"{file} is valid\n"
    assert (await stigma("workflow", "apply", "-f", file, **env)).output == "wrapped@1 applied\n"
    shown = (await stigma("workflow", "get", "wrapped", **env)).output
    for line in ("description:  Says hello.", "timeout:      5 min", "labels:       team=core"):
        assert line in shown
    done = await stigma("workflow", "start", "wrapped", "--wait", **env)
    assert json.loads(done.stdout) == {"greeting": "hello"}


async def test_the_engine_refuses_a_document(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    file = written(tmp_path, ENVELOPE.replace("set:", "sett:"))
    refused = await stigma("workflow", "apply", "-f", file, **env)
    assert refused.exit_code == Exit.USAGE
    assert refused.stderr.startswith(f"error: {file}:10:9: expected a task")
    assert refused.stderr.count("error: ") == 1
    assert "/do/0/hello" in refused.stderr
    assert (await stigma("workflow", "get", "sett", **env)).exit_code == Exit.NOT_FOUND
    alone = await stigma("validate", file)
    assert alone.exit_code == Exit.USAGE
    assert alone.output.startswith(f"{file}:10:9: expected a task")


async def test_starting_and_waiting(stigma: Stigma, env: dict[str, str], tmp_path: Path) -> None:
    name = await applied(stigma, env, tmp_path, DOCUMENT.replace("NAME", "greets"))
    given = '{"name": "you", "number": 9007199254740993}'
    once = ("workflow", "start", name, "-i", given, "--request-id", "once", "--session", "greeting")
    started = await stigma(*once, **env)
    execution = started.output.strip()
    assert execution.startswith("workflow-")
    done = await stigma(*once, "--wait", **env)
    assert (done.exit_code, done.stdout.count("9007199254740993")) == (Exit.OK, 1)
    assert json.loads(done.stdout)["greeting"] == "hello you"
    as_json = json.loads((await stigma(*once, "-o", "json", **env)).stdout)
    assert as_json["id"] == execution
    assert as_json["status"]["phase"] == "WORKFLOW_EXECUTION_PHASE_COMPLETED"
    ended = json.loads((await stigma(*once, "--wait", "-o", "json", **env)).stdout)
    assert ended["status"]["output"] == as_json["status"]["output"]

    watched = await stigma("execution", "watch", execution, **env)
    lines = [line.partition("  ")[2] for line in watched.output.splitlines()]
    assert lines[0] == f"started {name}@1"
    assert lines[1] == f"the workflow engine runs run-{execution.removeprefix('workflow-')}"
    assert lines[-1].startswith("COMPLETED {")
    shown = (await stigma("execution", "get", execution, **env)).output
    assert f"workflow: {name}@1\n" in shown
    assert "phase:    COMPLETED\n" in shown
    assert "input:" not in shown
    full = (await stigma("execution", "get", execution, "--full", **env)).output
    text = DOCUMENT.replace("NAME", "greets")
    assert full == f"{shown}input:    {given}\ndocument: \n{text}"
    as_json = json.loads(
        (await stigma("execution", "get", execution, "--full", "-o", "json", **env)).output
    )
    assert as_json["spec"]["inputJson"] == given
    cancelled = await stigma("execution", "cancel", execution, **env)
    assert cancelled.output == f"{execution} had ended: COMPLETED\n"
    query = ("execution", "list", "--workflows", "--filter", 'session = "greeting"')

    async def is_listed() -> bool:
        return execution in (await stigma(*query, **env)).output

    await eventually(is_listed, what="listed")
    assert "WORKFLOW" in (await stigma(*query, **env)).output


NESTED = """\
document: {dsl: '1.0.3', namespace: test, name: nested, version: '1.0.0'}
do:
  - attempt:
      try:
        - risky: {raise: {error: {type: 'https://example.com/wrong', status: 418, title: Teapot}}}
      catch:
        do:
          - mend: {set: {a: 1}}
  - each:
      for: {each: x, in: '${ [1, 2] }'}
      do:
        - step: {set: {b: '${ $x }'}}
"""


async def test_watching_shows_tasks(
    stigma: Stigma, env: dict[str, str], stack: Stack, tmp_path: Path
) -> None:
    temporal = {"TEMPORAL_ADDRESS": stack.temporal_address, "TEMPORAL_NAMESPACE": stack.namespace}
    name = await applied(stigma, env, tmp_path, NESTED)
    watched = await stigma("workflow", "start", name, "--watch", **env, **temporal)
    assert watched.exit_code == Exit.OK
    lines = watched.stdout.splitlines()
    ends = [line.split("completed")[0].split("faulted")[0].rstrip() for line in lines]
    ended = [line for line, shown in zip(ends, lines, strict=True) if line != shown]
    nested = ("  risky", "  mend", "attempt", "  step", "  step [2]", "each")
    assert [line for line in ended if line in nested] == list(nested)
    assert "COMPLETED" in lines[-1]
    away = await stigma("workflow", "start", name, "--watch", **env, TEMPORAL_ADDRESS="127.0.0.1:1")
    assert away.exit_code == Exit.OK
    assert "stigma: tasks are not shown: cannot reach Temporal at 127.0.0.1:1\n" in away.stderr


async def test_watching_a_failure(stigma: Stigma, env: dict[str, str], tmp_path: Path) -> None:
    name = await applied(stigma, env, tmp_path, RAISING)
    watched = await stigma("workflow", "start", name, "--watch", **env)
    assert watched.exit_code == Exit.FAILED
    lines = watched.output.splitlines()
    assert lines[0].startswith("workflow-")
    assert "FAILED WORKFLOW_ERROR: Teapot" in lines[-1]
    shown = (await stigma("execution", "get", lines[0], **env)).output
    assert '"status":418' in shown
    streamed = await stigma("workflow", "start", name, "--watch", "-o", "json", **env)
    assert "ended" in json.loads(streamed.stdout.splitlines()[-1])


async def test_cancelling_and_timing_out(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    name = await applied(stigma, env, tmp_path, WAITING)
    execution = (await stigma("workflow", "start", name, **env)).output.strip()
    cancelled = await stigma("execution", "cancel", execution, "--reason", "enough", **env)
    assert cancelled.output == f"{execution} was asked to stop\n"
    watched = await stigma("execution", "watch", execution, **env)
    assert watched.exit_code == Exit.FAILED
    assert "CANCELLED" in watched.output.splitlines()[-1]
    late = await stigma("workflow", "start", name, "--timeout", "1s", "--wait", **env)
    assert late.exit_code == Exit.FAILED
    assert late.stdout.startswith("DEADLINE")


async def test_usage_mistakes(stigma: Stigma, env: dict[str, str]) -> None:
    for wrong in (("-i", "{"), ("--timeout", "soon")):
        refused = await stigma("workflow", "start", "any", *wrong, **env)
        assert refused.exit_code == Exit.USAGE
    missing = await stigma("workflow", "start", "nothing", **env)
    assert missing.exit_code == Exit.NOT_FOUND


def test_an_api_that_cannot_do_it_is_not_one_that_is_away() -> None:
    said = Metadata(("grpc-status-details-bin", b""))
    for trailers, message in (
        (said, "no engine"),
        (Metadata(), "cannot reach Stigma's API at a:1"),
    ):
        error = AioRpcError(StatusCode.UNAVAILABLE, Metadata(), trailers, details="no engine")
        failure = from_grpc(error, "a:1")
        assert (failure.message, failure.code) == (message, Exit.UNREACHABLE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "there is no workflow in these files"),
        (ENVELOPE.replace("limits", "limit"), "workflow.yaml:6:3: unknown key 'limit' in spec"),
        (
            ENVELOPE.replace("kind: Workflow", "kind: Agent"),
            "workflow.yaml:2:1: kind is Agent: `stigma agent apply` registers it",
        ),
        (f"{WAITING}---\n{RAISING}", "a workflow document stands alone in its file"),
        ("document: {dsl: '1.0.3'}", "is required"),
    ],
)
def test_a_mistake_in_a_file_is_named(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(CliError, match=expected) as raised:
        workflows_to_apply([written(tmp_path, text)])
    assert raised.value.code == Exit.USAGE


def test_several_workflows_in_a_file(tmp_path: Path) -> None:
    second = ENVELOPE.replace("wrapped", "second").replace("limits: {timeout: 5m}", "limits:")
    read = [
        each.definition
        for each in workflows_to_apply([written(tmp_path, f"{ENVELOPE}---\n{second}")])
    ]
    assert [workflow.name for workflow in read] == ["wrapped", "second"]
    assert read[0].spec.limits.timeout.ToSeconds() == 300
    assert not read[1].spec.HasField("limits")
    inside = YAML(typ="safe").load(read[0].spec.document)
    assert inside == YAML(typ="safe").load(ENVELOPE)["spec"]["document"]
