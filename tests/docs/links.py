"""The links of Markdown files, and what they lead to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LINK = re.compile(r"(?<!\\)\[(?:[^\]\[]|\[[^\]]*\])*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(?P<title>.+?) *#*$")
_FENCE = re.compile(r"^ *```")


@dataclass(frozen=True)
class Link:
    """One link to a file of the repository."""

    line: int
    target: str
    path: Path
    anchor: str

    def broken(self) -> str:
        """Say why it leads nowhere; empty when it leads somewhere."""
        if not self.path.exists():
            return f"{self.line}: there is no {self.target}"
        if self.anchor and self.path.suffix == ".md" and self.anchor not in anchors(self.path):
            return f"{self.line}: {self.path.name} has no heading #{self.anchor}"
        return ""


def links(path: Path) -> Iterator[Link]:
    """Every link of a file that leads to a file."""
    lines = dict(_prose(path))
    # A link may go on in the next line; what is code is none.
    text = "\n".join(lines.get(number, "") for number in range(1, max(lines, default=0) + 1))
    text = re.sub(r"`[^`\n]*`", "``", text)
    for match in _LINK.finditer(text):
        target = match["target"]
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        number = text.count("\n", 0, match.start()) + 1
        yield Link(number, target, (path.parent / name).resolve() if name else path, anchor)


def anchors(path: Path) -> set[str]:
    """What a link to a heading of a Markdown file may end with."""
    found: set[str] = set()
    for _, line in _prose(path):
        if heading := _HEADING.match(line):
            slug = _slug(heading["title"])
            number = 1
            while slug in found:
                slug = f"{_slug(heading['title'])}-{number}"
                number += 1
            found.add(slug)
    return found


def _prose(path: Path) -> Iterator[tuple[int, str]]:
    in_block = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if _FENCE.match(line):
            in_block = not in_block
        elif not in_block:
            yield number, line


def _slug(title: str) -> str:
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
