"""Wheels alone, without a checkout: what they install, and that it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stigma_cli.stack import SERVICES
from tests.docs.pages import ROOT

OF_A_CALLER = {
    "googleapis-common-protos",
    "grpcio",
    "grpcio-status",
    "nexus-rpc",
    "opentelemetry-api",
    "protobuf",
    "stigma-client",
    "stigma-core",
    "temporalio",
    "types-protobuf",
    "typing-extensions",
}
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheels")
    subprocess.run([ROOT / "tools" / "dist", directory], check=True, timeout=120)
    return directory


def installed(package: str, wheels: Path, directory: Path) -> Path:
    """Install a package into an environment of its own; return its programs' directory."""
    environment = directory / "venv"
    python = environment / "bin" / "python"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    install: list[str | Path] = [UV, "pip", "install", "--quiet", "--compile-bytecode"]
    where: list[str | Path] = ["--python", python, "--find-links", wheels]
    subprocess.run([*install, *where, package], check=True, timeout=240)
    return environment / "bin"


def test_a_callers_worker_gets_little_more_than_temporals_sdk(wheels: Path, tmp_path: Path) -> None:
    programs = installed("stigma-client", wheels, tmp_path)
    listed = subprocess.run(
        [UV, "pip", "list", "--format", "json", "--python", programs / "python"],
        check=True,
        capture_output=True,
    )
    assert {each["name"] for each in json.loads(listed.stdout)} == OF_A_CALLER
    code = "import stigma_client, stigma_client.plugin; print(stigma_client.run_agent.__name__)"
    ran = subprocess.run([programs / "python", "-c", code], check=True, capture_output=True)
    assert ran.stdout == b"run_agent\n"


def test_all_are_of_one_release(wheels: Path) -> None:
    ours = {}
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            [metadata] = [each for each in archive.namelist() if each.endswith("/METADATA")]
            ours[wheel.name] = archive.read(metadata).decode().splitlines()
    assert len(ours) == len(SERVICES) + 3
    [version] = {line for lines in ours.values() for line in lines if line.startswith("Version: ")}
    needs = {
        line
        for lines in ours.values()
        for line in lines
        if line.startswith("Requires-Dist: stigma-")
    }
    assert needs
    assert {line.rpartition("==")[2] for line in needs} == {version.removeprefix("Version: ")}


@pytest.mark.timeout(400)
def test_the_command_brings_everything(wheels: Path, tmp_path: Path) -> None:
    programs = installed("stigma-cli", wheels, tmp_path)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    # No Temporal but its own.
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path)}
    if "LANG" in os.environ:
        environment["LANG"] = os.environ["LANG"]
    ran = subprocess.run(
        [programs / "stigma", "demo", "-o", "json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    shown = json.loads(ran.stdout)
    assert [each["phase"] for each in shown["timelines"]] == ["COMPLETED", "COMPLETED"]
    assert list(folder.iterdir()) == []
