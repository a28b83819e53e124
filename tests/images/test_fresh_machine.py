"""A bare Debian, with wheels and nothing else of ours: from nothing to the demo's answer."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.images.fresh_machines import FRESH_MACHINES, FreshMachine
from tests.images.images import SERVICE_IMAGES, docker

# 90 s where nothing else runs; the table has what it took.
_SAFETY_SECONDS = 360
_TIMEOUT_SECONDS = 420
_DIST_SECONDS = 240

# pip would compile every file of every library, most of which are not used.
_COMMANDS = """
python3 -m venv /try
/try/bin/pip install --quiet --no-compile --find-links /wheels stigma-cli
date +%s.%N >/out/installed
cd /out
/try/bin/stigma demo --kill -o json >/out/shown
"""


@pytest.fixture(scope="module")
def base(engine: None) -> str:
    """The image that ours are built on: Debian with Python, and nothing of ours."""
    if named := os.environ.get("BASE_IMAGE"):
        return named
    image = SERVICE_IMAGES[0]
    if not image.exists:
        pytest.skip(f"image {image.reference} is absent: make images")
    [name] = image.base()["RepoTags"]
    return str(name)


@pytest.mark.timeout(_DIST_SECONDS + _TIMEOUT_SECONDS + 60)
def test_from_nothing_to_the_answer_of_a_call_that_was_killed(base: str, tmp_path: Path) -> None:
    wheels, out = tmp_path / "wheels", tmp_path / "out"
    out.mkdir()
    subprocess.run([ROOT / "tools" / "dist", wheels], check=True, timeout=_DIST_SECONDS)
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    run = ["run", "--rm", "--volume", f"{wheels}:/wheels:ro", "--volume", f"{out}:/out"]
    # The packages come from the index that builds of images reach, by the machine's own network.
    run += ["--network", "host", "--env", "PIP_CERT=/etc/ssl/certs/ca-certificates.crt"]
    run += ["--env", "PIP_INDEX_URL"] if "PIP_INDEX_URL" in os.environ else []
    run += ["--env", "PIP_EXTRA_INDEX_URL"] if "PIP_EXTRA_INDEX_URL" in os.environ else []
    started = time.time()
    ran = docker(*run, base, "sh", "-ec", _COMMANDS, check=False, seconds=_TIMEOUT_SECONDS)
    ended = time.time()
    assert ran.returncode == 0, ran.stderr
    shown = json.loads((out / "shown").read_text(encoding="utf-8"))
    assert "SQL" in shown["output"]["security"]
    assert [each["phase"] for each in shown["timelines"]] == ["COMPLETED"] * 2
    for name in ("ai_worker", "stigma_orchestrator"):
        assert f"{name} was killed (SIGKILL)" in ran.stderr
    installed = float((out / "installed").read_text(encoding="utf-8"))
    machine = FreshMachine(base, round(installed - started, 1), round(ended - installed, 1), busy)
    FRESH_MACHINES.append(machine)
    assert machine.seconds <= _SAFETY_SECONDS, machine
