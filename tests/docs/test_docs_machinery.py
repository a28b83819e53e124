"""How the tests read pages, and what they hold against a command."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.docs.commands import commands_of, missing, with_ports
from tests.docs.pages import ROOT, Block, Page, PageError, read_page
from tests.docs.shell import Shell
from tests.docs.table import CommandsTable
from tests.stack.waiting import eventually


def page_of(text: str, tmp_path: Path) -> Page:
    path = tmp_path / "page.md"
    path.write_text(text)
    return read_page(path)


@pytest.fixture(autouse=True)
def pages_anywhere(monkeypatch, tmp_path):
    monkeypatch.setattr("tests.docs.pages.ROOT", tmp_path)
    monkeypatch.setattr("tests.docs.table.ROOT", tmp_path)


def test_a_block_has_its_directives(tmp_path):
    page = page_of(
        "# Title\n\n<!-- not run: needs a cluster -->\n<!-- name: apply -->\n"
        "```bash\nkubectl get pods\n```\n\n```bash\nls\n```\n",
        tmp_path,
    )
    first, second = page.blocks
    assert (first.not_run, first.line, first.place) == ("needs a cluster", 5, "page.md:5")
    assert page.block("apply") == first
    assert not second.not_run
    assert second.exit_code == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```\nls\n```\n", "page.md:1: the block has no language"),
        ("```bash\nls\n", "page.md:1: the block does not end"),
        ("Text\n\n    ls\n", "page.md:3: an indented block"),
        ("<!-- nor run: a slip -->\n```bash\nls\n```\n", "page.md:1: 'nor run' is no directive"),
        ("<!-- not run: why -->\n\n```bash\nls\n```\n", "page.md:2: a directive without a block"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, text, complaint):
    with pytest.raises(PageError, match=complaint):
        page_of(text, tmp_path)


def test_what_goes_on_in_a_list_is_no_block(tmp_path):
    assert page_of("- one\n\n    two\n", tmp_path).blocks == ()


def test_a_block_that_is_not_there_is_said(tmp_path):
    with pytest.raises(PageError, match="no block named 'cure'"):
        page_of("# Title\n", tmp_path).block("cure")


@pytest.mark.parametrize(
    ("language", "text", "commands"),
    [
        ("bash", "# first\nls\n\npwd # where\n", ["ls", "pwd # where"]),
        ("bash", "ls \\\n  -l\npwd\n", ["ls \\\n  -l", "pwd"]),
        ("bash", "echo 'a\nb'\nls\n", ["echo 'a\nb'", "ls"]),
        ("bash", "cat >f <<END\nx\nEND\nls\n", ["cat >f <<END\nx\nEND", "ls"]),
        ("bash", "for f in a; do\n  ls $f\ndone\nls |\n wc\n", 2),
        ("console", "$ ls \\\n  -l\na\nb\n$ pwd\n", ["ls \\\n  -l", "pwd"]),
    ],
)
def test_blocks_are_taken_apart_as_a_shell_does(language, text, commands):
    found = commands_of(Block(ROOT / "x.md", 1, language, text))
    if isinstance(commands, int):
        assert len(found) == commands
    else:
        assert [command.text for command in found] == commands


def test_a_console_shows_what_comes_of_a_command():
    block = Block(ROOT / "x.md", 1, "console", "$ ls\na\nb\n$ pwd\n")
    assert [command.shown for command in commands_of(block)] == [("a", "b"), ()]


@pytest.mark.parametrize(
    ("shown", "absent"),
    [
        (("reviewer@1 applied",), None),
        (("NAME  VERSION", "reviewer … core"), None),
        (("…", "reviewer 1 core"), None),
        (("NAME  VERSION", "reviewer applied"), "reviewer applied"),
        (("reviewer 1 core", "NAME VERSION"), "NAME VERSION"),
        (("VERSION",), "VERSION"),
    ],
)
def test_output_is_held_against_what_is_shown(shown, absent):
    output = "reviewer@1 applied\nNAME      VERSION \nreviewer  1  core\n"
    assert missing(output, shown) == absent


def test_usual_ports_become_those_of_the_stack():
    text = "curl http://localhost:7310/metrics 127.0.0.1:7300 10.0.0.1:7300 localhost:8080"
    assert with_ports(text, {7310: 41, 7300: 42}) == (
        "curl http://127.0.0.1:41/metrics 127.0.0.1:42 10.0.0.1:7300 localhost:8080"
    )


async def test_a_session_keeps_variables_and_ends_what_it_left(tmp_path):
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    async with Shell(tmp_path, environment, tmp_path / "notes") as shell:
        assert (await shell.run("A=b; cd /")).code == 0
        assert (await shell.run('echo "$A in $PWD"')).output == "b in /\n"
        assert (await shell.run("false | cat")).code == 1
        assert (await shell.run("cat; echo problem >&2")).output == "problem\n"
        left = int((await shell.run("sleep 600 & echo $!")).output)
        with pytest.raises(TimeoutError, match="not done within 0:00:00"):
            await shell.run("sleep 600", timedelta(seconds=0.2))
    await eventually(lambda: _ended(left), what="the end of what the session left")


async def test_a_shell_that_exits_is_a_command_that_ends(tmp_path):
    async with Shell(tmp_path, {"PATH": "/usr/bin:/bin"}, tmp_path / "notes") as shell:
        assert (await shell.run("exit 3")).code == 3


def test_the_table_counts_commands(tmp_path):
    page = page_of(
        "```bash\nls\npwd\n```\n\n<!-- not run: it takes hours -->\n```sh\na\n```\n", tmp_path
    )
    table = CommandsTable()
    table.found(page)
    table.ran(page.blocks[0])
    assert [line.split() for line in table.lines(table.rows())] == [
        ["found", "run", "not", "page"],
        ["3", "2", "1", "page.md"],
        ["1", "page.md:7:", "it", "takes", "hours"],
        ["3", "2", "1", "together"],
    ]


def _ended(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status.rpartition(")")[2].split()[0] == "Z"  # nobody has asked for its exit code yet
