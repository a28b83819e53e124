"""Checks what the linter cannot: subjects of commits, and how docstrings open.

`python -m tools.style` prints each violation and ends with 1 when there is one. Commits are checked
from FIRST_COMMIT on: older ones have no area.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FIRST_COMMIT = "bf53748147b97a05a4711df4b7de94774b3445a6"
LONGEST_SUBJECT = 72
SUBJECT = re.compile(r"[a-z0-9_./, -]+: \S.*[^.]")
OPENERS = re.compile(r"(What|How|Whether) ")

_ROOT = Path(__file__).parents[1]


def bad_subjects(subjects: Iterator[str] | list[str]) -> Iterator[str]:
    """Yield what is wrong with commit subjects."""
    for subject in subjects:
        if subject.startswith("Merge "):
            continue
        if len(subject) > LONGEST_SUBJECT:
            yield f"{len(subject)} characters, at most {LONGEST_SUBJECT}: {subject}"
        if not SUBJECT.fullmatch(subject):
            yield f"not `area: imperative summary`: {subject}"


def bad_docstrings(path: Path) -> Iterator[str]:
    """Yield functions of a file whose docstrings open with no verb."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_property(node):
            continue
        if OPENERS.match(ast.get_docstring(node) or ""):
            yield f"{path}:{node.lineno}: the docstring of {node.name} opens with no verb"


def _is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("property" in ast.unparse(one) for one in node.decorator_list)


def _new_subjects() -> list[str]:
    known = subprocess.run(
        ["git", "rev-parse", "--quiet", "--verify", f"{FIRST_COMMIT}^{{commit}}"],
        cwd=_ROOT,
        capture_output=True,
        check=False,
    )
    # A shallow clone, or none at all: whoever made the commit has checked it.
    if known.returncode != 0:
        return []
    command = ["git", "log", "--format=%s", f"{FIRST_COMMIT}..HEAD"]
    return subprocess.check_output(command, cwd=_ROOT, text=True).splitlines()


def _sources() -> Iterator[Path]:
    for pattern in ("packages/*/src", "services/*/src"):
        for source in sorted(_ROOT.glob(pattern)):
            yield from (path for path in sorted(source.rglob("*.py")) if "_pb2" not in path.name)


def main() -> int:
    """Check the repository."""
    found = [*bad_subjects(_new_subjects())]
    found += [line for path in _sources() for line in bad_docstrings(path)]
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
