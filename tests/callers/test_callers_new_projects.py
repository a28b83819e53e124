"""Projects of `stigma init --language` are built and run, as their READMEs say."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.callers.programs import NODE, ROOT, TYPESCRIPT, build
from tests.stack.command_line import stigma

if TYPE_CHECKING:
    from tests.callers.caller_site import CallerSite

# The first test of a language builds its libraries.
pytestmark = pytest.mark.timeout(600)


def _npm_has_fetched(project: Path) -> None:
    """Give a project the packages that the example has: they are the same."""
    subprocess.run(["cp", "-al", TYPESCRIPT / "node_modules", project], check=True)


PREPARED: dict[str, Callable[[Path], None]] = {"typescript": _npm_has_fetched}


def commands(readme: Path) -> tuple[list[str], list[str]]:
    """The commands of a project's second block: Stigma's, and those of the language."""
    blocks = re.findall(r"```bash\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    lines = blocks[1].splitlines()
    ours = [line for line in lines if line.startswith("stigma ")]
    return ours, [line for line in lines if line not in ours]


@pytest.mark.parametrize("language", ["go", "java", "typescript"])
async def test_a_new_project_runs(site: CallerSite, language: str, tmp_path: Path) -> None:
    build(language)
    project = tmp_path / "my project"
    written = await stigma("init", str(project), "--language", language)
    assert written.code == 0, written.stderr
    PREPARED.get(language, lambda _: None)(project)
    applied = await stigma("agent", "apply", "-f", str(project / "greeter.yaml"), **site.settings())
    assert applied.code == 0, applied.stderr
    ours, theirs = commands(project / "README.md")
    # The test of the project in Python runs these.
    assert ours == commands(ROOT / "examples" / "new-project" / "README.md")[0]
    # Maven takes half the CPU when it compiles less.
    environment = {**os.environ, "PATH": f"{NODE.parent}:{os.environ['PATH']}", "CGO_ENABLED": "0"}
    environment["MAVEN_OPTS"] = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", "\n".join(theirs)),
        cwd=project,
        env={**environment, **site.settings()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = (each.decode() for each in await process.communicate())
    assert process.returncode == 0, output + errors
    # Maven resets the terminal's colours before it.
    assert output.splitlines()[-1].endswith("Good to see you. You said: I am Grace")
