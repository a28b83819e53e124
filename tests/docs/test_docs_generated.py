"""The references say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tools.docs import __main__ as generator
from tools.docs import contract
from tools.docs.markdown import table, with_part

# Read by tests and benchmarks, not by users.
_NOT_SETTINGS = ("STIGMA_TEST_", "STIGMA_SOAK_", "STIGMA_SHORT_SOAK_", "STIGMA_NO_SKIP")


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {path.name: text for path, text in generator.pages().items()}


def test_the_references_are_fresh(pages: dict[str, str]) -> None:
    places = {"handshake.md": generator.HANDSHAKE}
    found = {
        name: places.get(name, generator.REFERENCE / name).read_text(encoding="utf-8")
        for name in pages
    }
    assert [name for name in pages if pages[name] != found[name]] == [], "run make docs"


def test_everything_in_the_api_is_described(pages: dict[str, str]) -> None:
    rows = [line for line in pages["api.md"].splitlines() if line.startswith("| ")]
    assert len(rows) > 300
    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_variable_that_code_reads_is_described(pages: dict[str, str]) -> None:
    known = set(re.findall(r"`(\w+)`", pages["configuration.md"]))
    read: dict[str, str] = {}
    for path in [
        *(ROOT / "packages").glob("*/src/**/*.py"),
        *(ROOT / "services").glob("*/src/**/*.py"),
    ]:
        for name in re.findall(r'"(STIGMA_[A-Z_]*[A-Z])"', path.read_text(encoding="utf-8")):
            read[name] = path.relative_to(ROOT).as_posix()
    assert len(read) > 8
    unknown = {n: f for n, f in read.items() if n not in known and not n.startswith(_NOT_SETTINGS)}
    assert unknown == {}


def test_every_command_is_described(pages: dict[str, str]) -> None:
    headings = [line for line in pages["cli.md"].splitlines() if line.startswith("## ")]
    for command in ("stigma up", "stigma agent apply", "stigma execution watch"):
        assert f"## {command}" in headings


def test_a_page_that_is_not_fresh_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    monkeypatch.setattr(generator, "pages", lambda: {tmp_path / "a" / "page.md": "text\n"})
    monkeypatch.setattr("sys.argv", ["docs", "--check"])
    assert generator.main() == 1
    assert capsys.readouterr().err == "not fresh: a/page.md (run make docs)\n"
    monkeypatch.setattr("sys.argv", ["docs"])
    assert generator.main() == 0
    assert (tmp_path / "a" / "page.md").read_text() == "text\n"
    monkeypatch.setattr("sys.argv", ["docs", "--check"])
    assert generator.main() == 0


def test_the_contract_is_written_from_rows_and_marks(tmp_path: Path) -> None:
    tests = tmp_path / "tests" / "integration"
    tests.mkdir(parents=True)
    (tests / "test_new.py").write_text(
        'ROW = "no token"\n'
        "@pytest.mark.timeout(5)\n"
        "@pytest.mark.contract(ROW)\n"
        "async def test_of_an_agent(): pass\n"
        '@pytest.mark.contract("no token", "workflow", "agent")\n'
        "def test_of_both(): pass\n"
    )
    row = contract.page(tmp_path).split("## no token\n")[1]
    link = "[integration/new](../../tests/integration/test_new.py)"
    assert row.splitlines() == [
        "",
        "With an agent:",
        "",
        f"- {link}: of an agent, of both",
        "",
        "With a workflow execution:",
        "",
        f"- {link}: of both",
    ]
    page = generator.HANDSHAKE.read_text(encoding="utf-8")
    stale = page.replace("the execution ends normally", "nothing")
    assert stale != page
    assert contract.with_promises(stale) == page


def test_a_page_that_does_not_say_where_its_part_is_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="change the code instead"):
        with_part("# Page\n", "the code", ["text"])
    page = "<!-- Written by `make docs`: change the code instead. -->\nold\n"
    with pytest.raises(ValueError, match="Written until here"):
        with_part(page, "the code", ["text"])


def test_a_table_keeps_its_cells_apart() -> None:
    assert list(table(("a", "b"), [("`x|y`", "two\nlines")])) == [
        "| a | b |",
        "|---|---|",
        r"| `x\|y` | two lines |",
        "",
    ]
