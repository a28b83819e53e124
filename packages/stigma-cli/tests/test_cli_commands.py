"""Commands against a real API and a real Temporal server: what they print and exit with."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stigma_cli.errors import Exit
from tests.stack.definitions import agent_file, document_file
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from conftest import Stigma
    from tests.stack.stack import Stack


KEY = "open-sesame"


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
