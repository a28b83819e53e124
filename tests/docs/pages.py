"""The pages of the documents, and the blocks of commands in them.

A block of commands is fenced as `bash`, `sh` or `console`. A comment directly above a block is for
the tests, and invisible to readers:

    <!-- not run: REASON -->   nothing of it is run
    <!-- file: NAME -->        the block, of any language, becomes this file of the page's directory
    <!-- before: COMMAND -->   is run first, for instance to set a variable that the block reads
    <!-- exit: CODE -->        the block's one command ends with this code; otherwise it is 0
    <!-- shows: TEXT -->       the output contains this, as a line of a `console` block does
    <!-- name: NAME -->        tests that follow a runbook find the block by it
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]

COMMANDS = frozenset({"bash", "sh", "console"})
DIRECTIVES = ("not run", "file", "before", "exit", "shows", "name")

_PATTERNS = (
    "README.md",
    "docs/**/*.md",
    "services/*/README.md",
    "packages/*/README.md",
    "examples/**/README.md",
)
# What `stigma init` writes: tests of their own run the same commands.
_OF_PROJECTS = "examples/new-project*/README.md"
# What an example has got from a registry has pages as well.
_INSTALLED = {"node_modules"}
_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<language>\S*)\s*$")
_DIRECTIVE = re.compile(r"^ *<!-- (?P<key>[a-z][a-z ]*): (?P<value>.*) -->$")
_LIST = re.compile(r"^ *([-*]|\d+\.) ")


class PageError(Exception):
    """A page is written in a way that the tests cannot read; names page and line."""


@dataclass(frozen=True)
class Block:
    """One fenced block. ``line`` is that of its fence; directives are (key, value)."""

    page: Path
    line: int
    language: str
    text: str
    directives: tuple[tuple[str, str], ...] = ()

    @property
    def is_commands(self) -> bool:
        """Whether a reader would type it."""
        return self.language in COMMANDS

    @property
    def not_run(self) -> str:
        """Why it is not run; empty when it is."""
        return next(iter(self.values("not run")), "")

    @property
    def file(self) -> str:
        """The file it becomes; empty when it is none."""
        return next(iter(self.values("file")), "")

    @property
    def name(self) -> str:
        """What tests call it; empty when nothing."""
        return next(iter(self.values("name")), "")

    @property
    def exit_code(self) -> int:
        """How its command is to end."""
        return int(next(iter(self.values("exit")), "0"))

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def values(self, key: str) -> list[str]:
        """What the directives with this key say."""
        return [value for name, value in self.directives if name == key]


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path
    blocks: tuple[Block, ...] = field(default=())

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return self.path.relative_to(ROOT).as_posix()

    def block(self, name: str) -> Block:
        """The block of this name.

        Raises:
            PageError: there is none.
        """
        for block in self.blocks:
            if block.name == name:
                return block
        raise PageError(f"{self.name} has no block named {name!r}")


def page_paths() -> list[Path]:
    """Every page that the tests read, in order."""
    found = {path for pattern in _PATTERNS for path in ROOT.glob(pattern)}
    return sorted(
        path for path in found - {*ROOT.glob(_OF_PROJECTS)} if not _INSTALLED & {*path.parts}
    )


def read_page(path: Path) -> Page:
    """Read one page.

    Raises:
        PageError: a block has no language, or is indented; a directive is not known.
    """
    return Page(path, tuple(_blocks(path, path.read_text(encoding="utf-8").splitlines())))


def _blocks(path: Path, lines: list[str]) -> Iterator[Block]:
    directives: list[tuple[str, str]] = []
    in_list = False
    index = 0
    while index < len(lines):
        line = lines[index]
        if fence := _FENCE.match(line):
            end = _end(path, lines, index, fence["ticks"])
            if not fence["language"]:
                raise PageError(f"{path.relative_to(ROOT)}:{index + 1}: the block has no language")
            indent = len(fence["indent"])
            text = "".join(f"{each[indent:]}\n" for each in lines[index + 1 : end])
            yield Block(path, index + 1, fence["language"], text, tuple(directives))
            index = end
            directives = []
        elif directive := _DIRECTIVE.match(line):
            if directive["key"] not in DIRECTIVES:
                raise PageError(
                    f"{path.relative_to(ROOT)}:{index + 1}: {directive['key']!r} is no directive"
                )
            directives.append((directive["key"], directive["value"]))
        elif directives:
            raise PageError(f"{path.relative_to(ROOT)}:{index + 1}: a directive without a block")
        elif line.strip():
            indented = line.startswith("    ") and (index == 0 or not lines[index - 1].strip())
            if indented and not in_list:
                raise PageError(
                    f"{path.relative_to(ROOT)}:{index + 1}: an indented block: fence it, with its "
                    "language"
                )
            in_list = bool(_LIST.match(line)) or (in_list and line.startswith(" "))
        index += 1


def _end(path: Path, lines: list[str], start: int, ticks: str) -> int:
    for index in range(start + 1, len(lines)):
        if lines[index].strip() == ticks:
            return index
    raise PageError(f"{path.relative_to(ROOT)}:{start + 1}: the block does not end")
