"""The environment of a machine that has Python, make, Git and a network, and little else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.stack.skips import NO_SKIP

# Programs that some tests need and a user's machine may lack.
OUTSIDE = {
    *("docker", "docker-compose", "dockerd", "helm", "kubectl", "initdb", "postgres", "psql"),
    *("chromium", "prometheus", "promtool", "go", "gofmt", "java", "javac", "mvn", "temporal"),
}


def bare_environment(environment: Mapping[str, str], directory: Path) -> dict[str, str]:
    """Return variables with which none of those programs, and no Docker engine, is found.

    A skip is no failure there. ``directory`` is made anew, with a link to each of the programs that
    are left.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    # As a shell looks for them: the first directory of PATH wins.
    for folder in reversed(environment["PATH"].split(os.pathsep)):
        for program in Path(folder).iterdir() if Path(folder).is_dir() else ():
            if program.name not in OUTSIDE and os.access(program, os.X_OK):
                link = directory / program.name
                link.unlink(missing_ok=True)
                link.symlink_to(program)
    nowhere = str(directory / "nowhere")
    kept = {name: value for name, value in environment.items() if name != NO_SKIP}
    return {
        **kept,
        "PATH": str(directory),
        "DOCKER_HOST": f"unix://{nowhere}",
        "STIGMA_TOOLS_DIR": nowhere,
        "STIGMA_TEST_POSTGRESQL_DIR": nowhere,
    }
