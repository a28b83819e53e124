"""`stigma validate`: all mistakes of a file in one run, each with its place in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from stigma_cli.errors import Exit

if TYPE_CHECKING:
    from conftest import Stigma

DOCUMENT = """\
document: {dsl: '1.0.3', namespace: test, name: greet, version: '1.0.0'}
do:
  - hello: {set: {greeting: '${ "hello \\(.name)" }'}}
"""

SCRIPTED = """\
apiVersion: stigma/v1
kind: Agent
metadata: {name: NAME}
spec:
  model: scripted:test
  MORE
  script: {steps: [{text: x}]}
"""


def document_file(directory: Path, text: str = DOCUMENT) -> Path:
    file = directory / "document.yaml"
    file.write_text(text)
    return file


async def test_validating_tells_all_mistakes_at_once(stigma: Stigma, tmp_path: Path) -> None:
    tasks = [
        "again: {set: {x: 1, x: 2}}",
        "third: {wait: soon, then: elsewhere}",
        "other: {set: {x: '${ .[ }'}}",
    ]
    many = document_file(tmp_path, "".join([DOCUMENT, *(f"  - {each}\n" for each in tasks)]))
    told = await stigma("validate", many)
    assert told.exit_code == Exit.USAGE
    assert [line.rpartition(" (")[2] for line in told.output.splitlines()] == [
        "/do/1/again/set)",
        "/do/2/third/wait)",
        "/do/2/third/then)",
        "/do/3/other/set/x)",
    ]
    waits = "\n".join(f"  - t{at}: {{wait: soon}}" for at in range(103))
    told = await stigma("validate", document_file(tmp_path, f"{DOCUMENT}{waits}\n"))
    assert told.output.splitlines()[100:] == ["and 3 more"]


async def test_validating_tells_mistakes_of_envelopes_and_of_what_is_in_them(
    stigma: Stigma, tmp_path: Path
) -> None:
    file = tmp_path / "workflows.yaml"
    block = "document: |\n    " + DOCUMENT.replace("set:", "sett:").replace("\n", "\n    ")
    head = "apiVersion: stigma/v1\nkind: Workflow\nmetadata: {name: named}\nspec:\n"
    other = head.replace("named", "other")
    inner = "document: {do: [{a: {wait: soon}}]}"
    file.write_text(f"{head}  {block}\n---\n{other}  {inner}\n")
    both = await stigma("validate", file)
    assert both.exit_code == Exit.USAGE
    first, *others = both.output.splitlines()
    assert first.startswith(f"{file}:8:9: expected a task")
    assert [each.partition(": ")[0] for each in others] == [
        f"{file}:{line}" for line in ("15:3", "15:24")
    ]
    file.write_text(f"{head}  limit: 5\n  {inner}\n---\n{other}  {inner}\n")
    told = await stigma("validate", file)
    assert told.exit_code == Exit.USAGE
    lines = told.stdout.splitlines()
    assert [line.partition(": ")[0].removeprefix(f"{file}:") for line in lines] == [
        "5:3",
        "6:3",
        "6:24",
        "12:3",
        "12:24",
    ]


async def test_what_is_merged_into_a_map_has_the_place_of_the_map(
    stigma: Stigma, tmp_path: Path
) -> None:
    file = tmp_path / "workflow.yaml"
    file.write_text(
        "apiVersion: stigma/v1\nkind: Workflow\nmetadata: {name: merged}\nspec:\n  document:\n"
        "    do:\n    - a: &a {wait: PT1S, then: nowhere}\n    - b: {<<: *a}\n"
    )
    told = await stigma("validate", file)
    assert told.exit_code == Exit.USAGE
    places = [line.partition(": ")[0] for line in told.output.splitlines() if "/then)" in line]
    assert places == [f"{file}:7:26", f"{file}:8:7"]


async def test_a_document_that_is_merged_into_its_envelope_has_the_place_of_that(
    stigma: Stigma, tmp_path: Path
) -> None:
    file = tmp_path / "workflow.yaml"
    document = f"{DOCUMENT}  - a: {{wait: PT1S, then: nowhere}}\n"
    text = "".join(f"      {line}\n" for line in document.splitlines())
    head = "apiVersion: stigma/v1\nkind: Workflow\nmetadata: {name: merged}\n"
    file.write_text(f"{head}spec:\n  <<:\n    document: |\n{text}")
    told = await stigma("validate", file)
    assert told.exit_code == Exit.USAGE
    [line] = told.output.splitlines()
    assert line.startswith(f"{file}:5:3: line 4 of the document: ")
    assert line.endswith("(/do/1/a/then)")


async def test_an_anchor_may_be_used_again_but_not_inside_itself(
    stigma: Stigma, tmp_path: Path
) -> None:
    again = "  - a: &a {wait: PT1S}\n  - b: &a {wait: PT1S}\n"
    told = await stigma("validate", document_file(tmp_path, DOCUMENT + again))
    assert told.exit_code == Exit.OK
    assert told.stderr == ""
    inside = document_file(tmp_path, f"{DOCUMENT}  - a: &a {{<<: *a}}\n")
    told = await stigma("validate", inside)
    assert told.exit_code == Exit.USAGE
    assert told.output == f"{inside}: a map is merged into itself (<<)\n"


async def test_validating_agents_tells_mistakes_of_all(stigma: Stigma, tmp_path: Path) -> None:
    file = tmp_path / "agents.yaml"
    broken = SCRIPTED.replace("NAME", "broken").replace("MORE", "modle: x")
    file.write_text(f"{broken}---\n{SCRIPTED.replace('NAME', 'Wrong').replace('MORE', '')}")
    told = await stigma("validate", file)
    assert told.exit_code == Exit.USAGE
    first, second = told.stdout.splitlines()
    assert first.startswith(f"{file}:6:3: unknown key 'modle'")
    assert second.startswith(f"{file}:11:12: must be 1 to 63")


async def test_validating_tells_a_bounded_number(stigma: Stigma, tmp_path: Path) -> None:
    file = tmp_path / "agents.yaml"
    wrong = "".join(f"  key{at}: x\n" for at in range(103))
    file.write_text(SCRIPTED.replace("NAME", "broken").replace("  MORE\n", wrong))
    told = await stigma("validate", file)
    assert told.exit_code == Exit.USAGE
    assert told.stdout.splitlines()[100:] == ["and 3 more"]


async def test_validating_tells_where_a_file_is_no_yaml(stigma: Stigma, tmp_path: Path) -> None:
    broken = document_file(tmp_path, DOCUMENT + "  - next: {set: {x: [1}}\n")
    told = await stigma("validate", broken)
    assert told.exit_code == Exit.USAGE
    (line,) = told.output.splitlines()
    assert line.startswith(f"{broken}:4:")
    assert line.endswith(" (/)")


ENVELOPE = """\
apiVersion: stigma/v1
kind: Workflow
metadata: {name: Bad Name, labels: {"a.b/c": "it's", "-x": y}}
spec:
  description: LONG
  limits: {timeout: 0s}
  document:
    do:
      - a: {wait: soon}
"""


async def test_validating_workflows_by_the_rules_of_the_api(stigma: Stigma, tmp_path: Path) -> None:
    file = tmp_path / "workflow.yaml"
    file.write_text(ENVELOPE.replace("LONG", "x" * 5000))
    validated = await stigma("validate", file)
    assert (validated.exit_code, validated.stderr) == (Exit.USAGE, "")
    lines = validated.stdout.splitlines()
    for line, begin, pointer in zip(
        lines,
        [
            "3:12: must be 1 to 63 lower-case letters",
            "3:28: keys must be letters",
            "3:37: has quotes, apostrophes",
            "5:3: has 5000 bytes",
            "6:12: must be positive",
            "8:5: ",
            "9:13: ",
        ],
        [
            "/metadata/name",
            "/metadata/labels",
            "/metadata/labels/a.b~1c",
            "/spec/description",
            "/spec/limits/timeout",
            "/",
            "/do/0/a/wait",
        ],
        strict=True,
    ):
        assert line.startswith(f"{file}:{begin}")
        assert line.endswith(f" ({pointer})")
    # What is sent would find nobody there, and exit 3.
    refused = await stigma("workflow", "apply", "-f", file, STIGMA_API_ADDRESS="127.0.0.1:1")
    assert (refused.exit_code, refused.stdout) == (Exit.USAGE, "")
    assert refused.stderr.splitlines() == [f"error: {line}" for line in lines]
    as_json = json.loads((await stigma("validate", file, "-o", "json")).stdout)
    assert as_json["valid"] is False
    assert [each["pointer"] or "/" for each in as_json["problems"]] == [
        line.rpartition(" (")[2].removesuffix(")") for line in lines
    ]
    assert as_json["problems"][0].keys() == {"file", "line", "column", "pointer", "message"}


async def test_applying_tells_all_mistakes_of_all_files(stigma: Stigma, tmp_path: Path) -> None:
    document, agents = tmp_path / "document.yaml", tmp_path / "agents.yaml"
    document.write_text(f"{DOCUMENT}  - third: {{wait: soon, then: elsewhere}}\n")
    (tmp_path / "broken.yml").write_text("document: [\n")
    nobody = {"STIGMA_API_ADDRESS": "127.0.0.1:1"}
    refused = await stigma("workflow", "apply", "-f", tmp_path, **nobody)
    assert refused.exit_code == Exit.USAGE
    places = [line.partition(".y")[2][:8] for line in refused.stderr.splitlines()]
    assert places == ["ml:2:1: ", "aml:4:13", "aml:4:25"]
    fine, wrong = (SCRIPTED.replace("MORE", "").replace("NAME", each) for each in ("fine", "Q q"))
    agents.write_text(f"{fine}---\n{wrong}")
    refused = await stigma("agent", "apply", "-f", agents, **nobody)
    assert (refused.exit_code, refused.stdout) == (Exit.USAGE, "")
    assert refused.stderr.startswith(f"error: {agents}:11:12: must be 1 to 63")
    validated = await stigma("validate", agents, "-o", "json")
    assert validated.exit_code == Exit.USAGE
    [problem] = json.loads(validated.stdout)["problems"]
    assert (problem["line"], problem["pointer"]) == (11, "/metadata/name")


async def test_an_expression_inside_of_a_text_is_a_warning(stigma: Stigma, tmp_path: Path) -> None:
    tasks = "  - a: {set: {x: 'hello ${ .name }', y: ['${ .name'], z: ' ${ .name } '}}\n"
    file = document_file(tmp_path, DOCUMENT + tasks)
    validated = await stigma("validate", file)
    assert (validated.exit_code, validated.stdout) == (Exit.OK, f"{file} is valid\n")
    told = [
        line.partition(": this text is taken as it is: ") for line in validated.stderr.splitlines()
    ]
    assert [place.removeprefix(f"stigma: warning: {file}:") for place, _, _ in told] == [
        "4:15",
        "4:42",
    ]


async def test_a_name_that_runs_take_and_the_registry_refuses(
    stigma: Stigma, tmp_path: Path
) -> None:
    file = document_file(tmp_path, DOCUMENT.replace("name: greet", "name: Greet"))
    place = f"{file}:1:43: must be 1 to 63 lower-case letters"
    validated = await stigma("validate", file)
    assert (validated.exit_code, validated.stdout) == (Exit.OK, f"{file} is valid\n")
    warning = f"stigma: warning: `stigma workflow apply` refuses {place}"
    assert validated.stderr.startswith(warning)
    refused = await stigma("workflow", "apply", "-f", file, STIGMA_API_ADDRESS="127.0.0.1:1")
    assert refused.exit_code == Exit.USAGE
    assert refused.stderr.startswith(f"error: {place}")
    assert refused.stderr.endswith(" (/document/name)\n")


async def test_a_malformed_envelope_hides_no_rule_of_the_api(
    stigma: Stigma, tmp_path: Path
) -> None:
    file = tmp_path / "workflow.yaml"
    head = "apiVersion: stigma/v1\nkind: Workflow\nmetadata: {name: A b, labls: {}}\nspec:\n"
    inner = "  document:\n    do: [{a: {set: '${ .x ] }'}}]\n"
    file.write_text(f"{head}  limit: {{timeout: 0s}}\n  limits: {{timeout: -1s}}\n{inner}")
    told = await stigma("validate", file)
    assert told.exit_code == Exit.USAGE
    lines = [line.removeprefix(f"{file}:") for line in told.stdout.splitlines()]
    for line, begin in zip(
        lines,
        [
            "3:12: must be 1 to 63",
            "3:23: unknown key 'labls' in metadata, did you mean 'labels'?; known: name",
            "5:3: unknown key 'limit' in spec; known: description, document, limits",
            "6:12: ",
            "8:5: 'document' is required",
            "8:27: invalid expression: unexpected ']' (/do/0/a/set)",
        ],
        strict=True,
    ):
        assert line.startswith(begin)


async def test_what_follows_from_a_mistake_of_an_envelope_is_none(
    stigma: Stigma, tmp_path: Path
) -> None:
    file = tmp_path / "agents.yaml"
    broken = SCRIPTED.replace("NAME", "broken").replace("  MORE\n", "")
    file.write_text(
        broken.replace("  model:", "  modle:")
        + "---\n"
        + broken.replace("metadata: {name", "metadata: {nam")
        + "---\n"
        + broken.replace("metadata", "metdata").replace("steps: [", "steps: [5, ")
        + "---\n"
        + broken.replace("spec:", "spc:").replace("broken", "other")
    )
    told = await stigma("validate", file)
    assert told.exit_code == Exit.USAGE
    messages = [
        line.partition(": ")[2].partition(";")[0].partition(" (")[0]
        for line in told.stdout.splitlines()
    ]
    assert messages == [
        "unknown key 'modle' in spec, did you mean 'model'?",
        "unknown key 'nam' in metadata, did you mean 'name'?",
        "unknown key 'metdata' in an agent, did you mean 'metadata'?",
        "spec.script.steps[0] must be a mapping",
        "unknown key 'spc' in an agent, did you mean 'spec'?",
    ]


async def test_the_expressions_of_approval_rules_are_checked_beside_all_else(
    stigma: Stigma, tmp_path: Path
) -> None:
    file = tmp_path / "agents.yaml"
    listed = "[{tools: [fnd], when: '.a ]'}, {when: '.fine'}, {when: '${ .a | x(1) }'}]"
    rules = f"approval: {{rules: {listed}}}"
    fine = SCRIPTED.replace("MORE", "").replace("NAME", "fine")
    file.write_text(f"{fine}---\n{SCRIPTED.replace('MORE', rules).replace('NAME', 'broken')}")
    told = await stigma("validate", file)
    assert told.exit_code == Exit.USAGE
    lines = [line.removeprefix(f"{file}:") for line in told.stdout.splitlines()]
    pointer = "(/spec/approval/rules"
    assert lines == [
        f"14:31: is none of the agent's tools {pointer}/0/tools/0)",
        f"14:37: invalid expression: unexpected ']' at line 1, column 4 {pointer}/0/when)",
        f"14:70: invalid expression: x/1 is not defined at line 1, column 7 {pointer}/2/when)",
    ]
