"""Commands that take files: several, directories and stdin, and all mistakes of all of them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from stigma_cli.errors import Exit
from stigma_cli.service_checks import run_check

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Stigma

DOCUMENT = """\
document: {dsl: '1.0.3', namespace: test, name: NAME, version: '1.0.0'}
do:
  - hello: {wait: PT1S}
"""
AGENT = """\
apiVersion: stigma/v1
kind: Agent
metadata: {name: NAME}
spec: {model: 'scripted:test', script: {steps: [{text: x}]}}
"""
WORKFLOW = """\
apiVersion: stigma/v1
kind: Workflow
metadata: {name: NAME}
spec: {document: {do: [{a: {wait: soon}}]}}
"""
NOBODY = {"STIGMA_API_ADDRESS": "127.0.0.1:1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with files of each kind, and with things that are not for commands."""
    folder = tmp_path / "all"
    (folder / "inner.yaml.d").mkdir(parents=True)
    (folder / "inner.yaml.d" / "deep.yaml").write_text("[")
    (folder / "notes.md").write_text("# Notes")
    for name, text in {
        "1.yaml": DOCUMENT.replace("NAME", "good"),
        "2.yml": DOCUMENT.replace("NAME", "bad").replace("PT1S", "soon"),
        "3.yaml": AGENT.replace("NAME", "fine"),
        "4.json": json.dumps({"kind": "Agent", "apiVersion": "stigma/v1", "spec": {}}),
        "5.yaml": WORKFLOW.replace("NAME", "Wrong"),
        "6.yaml": "kind: [",
    }.items():
        (folder / name).write_text(text)
    (folder / "7.yaml").write_bytes(b"\xff")
    return folder


async def test_validating_tells_all_mistakes_of_all_files(stigma: Stigma, folder: Path) -> None:
    absent = folder / "absent.yaml"
    told = await stigma("validate", folder, absent, "-", folder / "2.yml", stdin="a: {b")
    assert told.exit_code == Exit.USAGE
    lines = [line.removeprefix(f"{folder}/") for line in told.stdout.splitlines()]
    for line, begin in zip(
        lines,
        [
            "2.yml:3:13: 'soon' is not an ISO 8601 duration",
            "4.json:1:1: metadata must be a mapping",
            "5.yaml:3:12: must be 1 to 63",
            "5.yaml:4:8: ",
            "5.yaml:4:29: ",
            "6.yaml:1:8: ",
            "7.yaml: is not UTF-8 text",
            "absent.yaml: No such file",
            "stdin:1:6: ",
            f"{folder}/1.yaml is valid"[len(f"{folder}/") :],
            "fine is valid",
        ],
        strict=True,
    ):
        assert line.startswith(begin), lines
    as_json = json.loads((await stigma("validate", folder, "-o", "json")).stdout)
    assert as_json["valid"] is False
    assert as_json["agents"] == ["fine"]
    assert [each["file"] for each in as_json["files"] if each["valid"]] == [
        f"{folder}/1.yaml",
        f"{folder}/3.yaml",
    ]
    assert {each["file"] for each in as_json["problems"]} == {
        f"{folder}/{name}" for name in ("2.yml", "4.json", "5.yaml", "6.yaml", "7.yaml")
    }


async def test_applying_takes_the_same_files(stigma: Stigma, folder: Path) -> None:
    given = ("workflow", "apply", "-f", folder / "2.yml", folder / "5.yaml", folder / "absent")
    refused = await stigma(*given, **NOBODY)
    assert (refused.exit_code, refused.stdout) == (Exit.USAGE, "")
    lines = [line.removeprefix(f"error: {folder}/") for line in refused.stderr.splitlines()]
    assert [line.partition(": ")[0] for line in lines] == [
        "2.yml:3:13",
        "5.yaml:3:12",
        "5.yaml:4:8",
        "5.yaml:4:29",
        "absent",
    ]
    for kind in ("agent", "workflow"):
        refused = await stigma(kind, "apply", folder / "absent", folder / "7.yaml", **NOBODY)
        assert refused.exit_code == Exit.USAGE
        assert refused.stderr.splitlines() == [
            f"error: {folder}/absent: No such file or directory",
            f"error: {folder}/7.yaml: is not UTF-8 text",
        ]


@pytest.mark.parametrize("command", [("validate",), ("agent", "apply"), ("workflow", "apply")])
async def test_commands_without_files_say_so(
    stigma: Stigma, tmp_path: Path, command: tuple[str, ...]
) -> None:
    none = await stigma(*command, **NOBODY)
    assert none.exit_code == Exit.USAGE
    assert "give files, directories of files, or - for stdin" in none.stderr
    empty = await stigma(*command, tmp_path, **NOBODY)
    assert empty.exit_code == Exit.USAGE
    assert f"{tmp_path}: has no file with .yaml or .yml or .json" in empty.output
    nothing = await stigma(*command, "", **NOBODY)
    assert nothing.exit_code == Exit.USAGE


async def test_only_the_files_of_a_directory_are_read(stigma: Stigma, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(DOCUMENT.replace("NAME", "good"))
    (tmp_path / "link.yaml").symlink_to("a.yaml")
    (tmp_path / "inner.yaml").mkdir()
    (tmp_path / "up.yaml").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.yaml")
    read = await stigma("validate", tmp_path, **NOBODY)
    valid = [f"{tmp_path}/{name}.yaml is valid" for name in ("a", "link")]
    assert (read.exit_code, read.output.splitlines()) == (Exit.OK, valid)
    (tmp_path / "self.yaml").symlink_to("self.yaml")
    (tmp_path / "nowhere.yaml").symlink_to("absent")
    told = await stigma("validate", tmp_path, **NOBODY)
    assert told.output.splitlines() == [
        f"{tmp_path}/nowhere.yaml: No such file or directory",
        f"{tmp_path}/self.yaml: Too many levels of symbolic links",
        *valid,
    ]


async def test_an_agent_of_another_file_is_known(stigma: Stigma, folder: Path) -> None:
    caller = folder / "caller.yaml"
    calls = "tools: [{name: sub, agent: {agent: fine}}], "
    caller.write_text(AGENT.replace("NAME", "caller").replace("model:", f"{calls}model:"))
    both = await stigma("validate", caller, folder / "3.yaml", **NOBODY)
    assert (both.exit_code, both.output) == (Exit.OK, "caller is valid\nfine is valid\n")


@pytest.mark.parametrize(
    ("kind", "text"), [("agent", AGENT), ("workflow", WORKFLOW.replace("soon", "PT1S"))]
)
async def test_a_name_that_is_given_twice_is_a_mistake(
    stigma: Stigma, tmp_path: Path, kind: str, text: str
) -> None:
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    text = text.replace(
        "{do:", "{document: {dsl: 1.0.3, namespace: n, name: d, version: 1.0.0}, do:"
    )
    a.write_text("---\n".join(text.replace("NAME", name) for name in ("one", "two", "one")))
    b.write_text(text.replace("NAME", "two"))
    lines = [
        f"{a}:13:12: {kind} one is also in line 3 of this file (/metadata/name)",
        f"{b}:3:12: {kind} two is also in {a} (/metadata/name)",
    ]
    told = await stigma("validate", tmp_path, **NOBODY)
    assert (told.exit_code, told.output.splitlines()) == (Exit.USAGE, lines)
    refused = await stigma(kind, "apply", tmp_path, **NOBODY)
    assert (refused.exit_code, refused.stdout) == (Exit.USAGE, "")
    assert refused.stderr.splitlines() == [f"error: {line}" for line in lines]


async def test_documents_that_are_to_be_registered_have_names_of_their_own(
    stigma: Stigma, tmp_path: Path
) -> None:
    """By themselves they are run, and may share one."""
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    for file in (a, b):
        file.write_text(DOCUMENT.replace("NAME", "Same"))
    checked = await stigma("validate", a, b, **NOBODY)
    assert (checked.exit_code, checked.stdout) == (Exit.OK, f"{a} is valid\n{b} is valid\n")
    assert "is also in" not in checked.stderr
    for file in (a, b):
        file.write_text(DOCUMENT.replace("NAME", "same"))
    refused = await stigma("workflow", "apply", a, b, **NOBODY)
    assert refused.exit_code == Exit.USAGE
    problem = f"workflow same is also in {a} (/document/name)"
    assert refused.stderr == f"error: {b}:1:43: {problem}\n"


async def test_files_share_the_hundred_lines(stigma: Stigma, tmp_path: Path) -> None:
    for name, count in (("a", 60), ("b", 103), ("c", 0)):
        tasks = "".join(f"  - t{at}: {{wait: soon}}\n" for at in range(count))
        (tmp_path / f"{name}.yaml").write_text(DOCUMENT.replace("NAME", name) + tasks)
    told = await stigma("validate", tmp_path)
    lines = told.stdout.splitlines()
    assert lines[99].startswith(f"{tmp_path}/b.yaml:")
    assert lines[100:] == ["and 63 more", f"{tmp_path}/c.yaml is valid"]
    as_json = json.loads((await stigma("validate", tmp_path, "-o", "json")).stdout)
    assert (len(as_json["problems"]), as_json["more"]) == (100, 63)


async def test_many_documents_are_checked_by_few_processes(
    stigma: Stigma, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    portions: list[int] = []

    def counted(*arguments: str, text: str, **others: Any) -> Any:
        portions.append(len(json.loads(text)))
        return run_check(*arguments, text=text, **others)

    monkeypatch.setattr("stigma_cli.documents.run_check", counted)
    monkeypatch.setattr("stigma_cli.documents._PORTION_LENGTH", 10 * len(DOCUMENT))
    for at in range(15):
        wrong = "soon" if at in {3, 14} else "PT1S"
        text = DOCUMENT.replace("NAME", f"d{at}").replace("PT1S", wrong)
        (tmp_path / f"{at:02}.yaml").write_text(text)
    told = await stigma("validate", tmp_path)
    assert [line.partition(":")[0] for line in told.stdout.splitlines()[:2]] == [
        f"{tmp_path}/03.yaml",
        f"{tmp_path}/14.yaml",
    ]
    assert sum(portions) == 15
    assert len(portions) == 2
