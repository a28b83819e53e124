"""Checks of agents, and of documents that call them, by `stigma validate`; how agents are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stigma_cli.definition_files import agents_of
from stigma_cli.document_warnings import silent_steps
from stigma_cli.errors import Exit
from tests.stack.definitions import CALLING, DOCUMENT, agent_file, document_file

if TYPE_CHECKING:
    from conftest import Stigma


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


async def test_agents_that_are_given_beside_a_document_are_not_looked_up(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    bare, enveloped = tmp_path / "a.yaml", tmp_path / "b.yaml"
    document = CALLING.replace("AGENT", "beside")
    bare.write_text(document)
    inner = document.replace("beside", "beside@2").replace("\n", "\n    ")
    head = "apiVersion: stigma/v1\nkind: Workflow\nmetadata: {name: asks}\nspec:\n"
    enveloped.write_text(f"{head}  document:\n    {inner}\n")
    alone = await stigma("validate", bare, enveloped, **env)
    assert alone.stderr.splitlines() == [
        f"stigma: warning: {bare}:3: agent beside is not registered",
        f"stigma: warning: {enveloped}:8: agent beside@2 is not registered",
    ]
    agent_file(tmp_path, "beside")
    together = await stigma("validate", tmp_path, **env)
    assert (together.exit_code, together.stderr) == (Exit.OK, "")


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
