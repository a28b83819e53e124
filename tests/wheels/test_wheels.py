"""Wheels alone, without a checkout: what they install, and that it runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stigma_cli.new_projects import Language, project_files
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

_MINORS = (11, 12, 13)
# How the machine reaches the package index.
_OF_THE_MACHINE = tuple(
    name
    for name in os.environ
    if name == "LANG" or name.startswith(("UV_", "PIP_", "SSL_")) or name.lower().endswith("_proxy")
)


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


def pythons() -> list[str]:
    """Return the one that runs this, and one of each other version that the machine has."""
    others = [minor for minor in _MINORS if minor != sys.version_info.minor]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found = [sys.executable]
    for minor in others:
        places = [shutil.which(f"python3.{minor}"), *pyenv.glob(f"3.{minor}.*/bin/python")]
        works = [str(each) for each in places if each and _is_python(each, minor)]
        found += works[:1]
    return found


def _is_python(program: str | Path, minor: int) -> bool:
    code = f"import sys; sys.exit(sys.version_info[:2] != (3, {minor}))"
    return subprocess.run([program, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "python",
    # One in every run; `make soak` has the others.
    [pytest.param(each, marks=[pytest.mark.soak] * (each != sys.executable)) for each in pythons()],
)
def test_the_command_brings_everything(python: str, wheels: Path, tmp_path: Path) -> None:
    """In any folder, by `uvx`."""
    uvx: list[str | Path] = [UV.with_name("uvx"), "--python", python]
    cache = subprocess.check_output([UV, "cache", "dir"], text=True).strip()
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    # No Temporal but its own.
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "UV_CACHE_DIR": cache}
    environment |= {name: os.environ[name] for name in _OF_THE_MACHINE if name in os.environ}

    def ran(*arguments: str) -> str:
        done = subprocess.run(
            [*uvx, "--find-links", wheels, "--from", "stigma-cli", "stigma", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    shown = json.loads(ran("demo", "-o", "json"))
    assert [each["phase"] for each in shown["timelines"]] == ["COMPLETED", "COMPLETED"]
    assert list(folder.iterdir()) == []
    for language in Language:
        ran("init", language, "--language", language)
        assert _files(folder / language) == set(project_files(language))


def _files(directory: Path) -> set[str]:
    return {str(each.relative_to(directory)) for each in directory.rglob("*") if each.is_file()}
