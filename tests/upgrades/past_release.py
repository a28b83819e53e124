"""Releases of the past: their code, out of this repository's history, and processes that run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RELEASES = ROOT / "tests" / "releases"


class UnknownReleaseError(LookupError):
    """This clone has no such commit; the message says how to get it."""


@dataclass(frozen=True)
class Tree:
    """A tree of this repository. Processes with its ``environment`` run its code."""

    directory: Path

    @property
    def packages(self) -> Path:
        """Where its processes find packages that are not installed here."""
        return self.directory / "packages-of-the-past"

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that put its packages, and its tests, before those that are installed."""
        sources = [*self.directory.glob("packages/*/src"), *self.directory.glob("services/*/src")]
        path = ":".join(str(one) for one in [*sorted(sources), self.packages, self.directory])
        # Otherwise `-m` looks into the working directory first.
        return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def releases() -> list[Path]:
    """The releases whose data is kept, oldest first."""
    return sorted(RELEASES.iterdir(), key=lambda path: tuple(map(int, path.name.split("."))))


def check_out(release: Path, directory: Path) -> Tree:
    """Write a release's tree into an empty directory.

    Raises:
        UnknownReleaseError: no Git, or a clone without this part of the history.
    """
    commit = (release / "commit").read_text().strip()
    git = shutil.which("git")
    if git is None:
        raise UnknownReleaseError("no git: install it to test upgrades from past releases")
    archived = subprocess.run(
        [git, "-C", str(ROOT), "archive", "--format=tar", commit],
        capture_output=True,
        check=False,
    )
    if archived.returncode != 0:
        raise UnknownReleaseError(
            f"this clone lacks release {release.name} ({commit[:12]}): git fetch --unshallow"
        )
    extract = ["tar", "--extract", "--directory", str(directory)]
    subprocess.run(extract, input=archived.stdout, check=True)
    return Tree(directory)


def replay_in(tree: Tree, histories: Path, count: int) -> None:
    """Assert that a tree's code goes the way of all these histories, and that it is its code."""
    replayed = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("replaying.py")), str(histories)],
        env=os.environ | dict(tree.environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert replayed.returncode == 0, replayed.stderr
    *files, last = replayed.stdout.splitlines()
    assert last == f"replayed {count}"
    assert all(Path(file).is_relative_to(tree.directory) for file in files), files
