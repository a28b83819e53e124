"""Packages that a past release needs and this one does not, from that release's lock files."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.upgrades.past_release import Tree

_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==.*(?:\n +.*)*", re.MULTILINE)
"""A package with its version and hashes."""
_INSTALLED_WITHIN_SECONDS = 120


def install_missing(tree: Tree) -> list[str]:
    """Install what is missing where the processes of `tree` find it; return the names.

    A process of the past runs on the packages of today that it shares with them.
    """
    pinned = {
        found["name"]: found[0]
        for lock in tree.directory.glob("services/*/requirements.lock")
        for found in _PINNED.finditer(lock.read_text())
    }
    missing = sorted(name for name in pinned if not _is_installed(name))
    if missing:
        requirements = tree.directory / "missing.lock"
        requirements.write_text("\n".join(pinned[name] for name in missing))
        _install(requirements, tree.packages)
    return missing


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _install(requirements: Path, target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--target", str(target), "-r", str(requirements)]
    subprocess.run(command, check=True, timeout=_INSTALLED_WITHIN_SECONDS)
