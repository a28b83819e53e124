"""Writes the references in docs/reference, and the failure contract: `python -m tools.docs`.

With `--check` it only says what is not fresh (exit 1).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tools.docs import api, cli, configuration, contract

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
HANDSHAKE = ROOT / "docs" / "handshake.md"


def pages() -> dict[Path, str]:
    """Return every page that is generated, or a part of it, and its content."""
    return {
        REFERENCE / "api.md": api.page(ROOT / "protos"),
        REFERENCE / "configuration.md": configuration.page(),
        REFERENCE / "cli.md": cli.page(),
        REFERENCE / "contract.md": contract.page(ROOT),
        HANDSHAKE: contract.with_promises(HANDSHAKE.read_text(encoding="utf-8")),
    }


def stale() -> Iterator[Path]:
    """Yield the pages that are not as they would be written."""
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            yield path


def main() -> int:
    """Write or check; returns the exit code."""
    if sys.argv[1:] == ["--check"]:
        found = list(stale())
        for path in found:
            sys.stderr.write(f"not fresh: {path.relative_to(ROOT)} (run make docs)\n")
        return 1 if found else 0
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
