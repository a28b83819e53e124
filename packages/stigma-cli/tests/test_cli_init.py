"""`stigma init`: what it writes runs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stigma_cli.errors import Exit

if TYPE_CHECKING:
    from conftest import Stigma


async def test_the_project_passes_its_own_test(stigma: Stigma, tmp_path: Path) -> None:
    project = tmp_path / "my agents"
    written = await stigma("init", str(project))
    assert written.exit_code == Exit.OK, written.output
    files = {str(each.relative_to(project)) for each in project.rglob("*") if each.is_file()}
    assert files == {
        "README.md",
        "clerk.yaml",
        "greeter.yaml",
        "test_project.py",
        "tool_worker.py",
        "worker.py",
        "workflow.yaml",
    }
    assert written.output.endswith(f"Next: `cd '{project}'`, and see README.md\n")
    ours = ("STIGMA_", "TEMPORAL_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "pytest", "-q"],
        cwd=project,
        env=environment,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout.decode() + ran.stderr.decode()
    assert b"4 passed" in ran.stdout


async def test_no_file_is_overwritten(stigma: Stigma, tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text("mine")
    refused = await stigma("init", str(tmp_path))
    assert refused.exit_code == Exit.USAGE
    assert "worker.py is there already" in refused.stderr
    assert os.listdir(tmp_path) == ["worker.py"]  # noqa: PTH208


async def test_a_caller_of_another_language_is_written(stigma: Stigma, tmp_path: Path) -> None:
    """That it builds and runs is in tests/callers."""
    written = await stigma("init", str(tmp_path), "--language", "go")
    assert written.exit_code == Exit.OK, written.output
    lines = written.output.splitlines()
    assert f"{tmp_path}/main.go" in lines
    assert f"{tmp_path}/stigma/ (5 files)" in lines
    assert (tmp_path / "go.mod").read_text().startswith("module greeter\n")
    (tmp_path / "main.go").unlink()
    refused = await stigma("init", str(tmp_path), "-l", "go")
    assert refused.exit_code == Exit.USAGE
    assert not (tmp_path / "main.go").exists()


async def test_a_directory_that_cannot_be_made_is_named(stigma: Stigma, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = await stigma("init", str(tmp_path / "file"))
    assert refused.exit_code == Exit.USAGE
    assert "file: " in refused.stderr
