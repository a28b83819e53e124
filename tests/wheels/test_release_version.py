"""One version in all that a release is made of."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

PROJECTS = sorted(
    [*ROOT.glob("packages/*/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml")]
)
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.mark.parametrize("file", PROJECTS, ids=lambda path: path.parent.name)
def test_packages_have_the_version_and_need_one_another_in_it(file: Path) -> None:
    project = tomllib.loads(file.read_text())["project"]
    ours = [each for each in project.get("dependencies", []) if each.startswith("stigma-")]
    assert project["version"] == VERSION
    assert {each.partition("==")[2] for each in ours} <= {VERSION}


@pytest.mark.parametrize(
    ("page", "place"),
    [
        ("docs/install.md", r"charts/stigma --version (\S+)"),
        ("examples/callers/java/pom.xml", r"<artifactId>callers</artifactId>\s*<version>(.*)</"),
        # The release's notes are the section that names its version.
        ("CHANGELOG.md", r"\n## (\d\S+)"),
    ],
)
def test_pages_name_the_version(page: str, place: str) -> None:
    found = re.search(place, (ROOT / page).read_text())
    assert found
    assert found[1] == VERSION
