"""Blocks of commands taken apart: what is typed, and what is to be seen."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.docs.pages import Block

_PROMPT = "$ "
_ANYTHING = "…"
_USUAL_PORT = re.compile(r"\b(?:localhost|127\.0\.0\.1):(\d{4})\b")


@dataclass(frozen=True)
class Command:
    """One command, perhaps of several lines, and the lines of output that a page shows for it."""

    text: str
    shown: tuple[str, ...] = ()


def commands_of(block: Block) -> list[Command]:
    """The commands of a block, in order; comments and empty lines are none."""
    if block.language == "console":
        return list(_of_console(block.text))
    return [Command(text) for text in _complete(block.text.splitlines())]


def with_ports(text: str, ports: Mapping[int, int]) -> str:
    """Return a command with the usual ports replaced by those of a running stack."""

    def replaced(match: re.Match[str]) -> str:
        usual = int(match[1])
        return f"127.0.0.1:{ports[usual]}" if usual in ports else match[0]

    return _USUAL_PORT.sub(replaced, text)


def missing(output: str, shown: tuple[str, ...]) -> str | None:
    """The first shown line that the output does not have, in this order; None when it has all.

    Spaces at the end do not count, several are as one, and "…" stands for anything: alone on a
    line, for any lines.
    """
    lines = iter(_squeezed(line) for line in output.splitlines())
    for wanted in shown:
        text = _squeezed(wanted)
        if not text or text == _ANYTHING:
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in text.split(_ANYTHING)))
        if not any(pattern.fullmatch(line) for line in lines):
            return wanted
    return None


def _of_console(text: str) -> Iterator[Command]:
    typed: list[str] = []
    shown: list[str] = []
    for line in [*text.splitlines(), _PROMPT]:
        if line.startswith(_PROMPT):
            if typed:
                yield Command("\n".join(typed), tuple(shown))
            typed, shown = [line.removeprefix(_PROMPT)], []
        elif typed and typed[-1].endswith("\\"):
            typed.append(line)
        else:
            shown.append(line)


def _complete(lines: list[str]) -> Iterator[str]:
    """Join lines until the shell finds a whole command in them."""
    pending: list[str] = []
    for line in lines:
        if not pending and (not line.strip() or line.lstrip().startswith("#")):
            continue
        pending.append(line)
        text = "\n".join(pending)
        if not line.endswith("\\") and _is_whole(text):
            yield text
            pending = []
    if pending:
        yield "\n".join(pending)


def _is_whole(text: str) -> bool:
    # An open quotation is an error; a here-document without its end is a warning.
    checked = subprocess.run(
        ["bash", "-n"], input=f"{text}\n", capture_output=True, text=True, check=False
    )
    return checked.returncode == 0 and not checked.stderr


def _squeezed(line: str) -> str:
    return " ".join(line.split())
