"""What is in an image, and what is not."""

from __future__ import annotations

import os
import re
import tarfile
from importlib.metadata import version
from pathlib import PurePath

from tests.images.images import Image, docker, files_of

# The AI worker's libraries of providers and MCP servers are the most.
OWN_MEGABYTES = 175

_NEVER = re.compile(
    r"(gcc|g\+\+|cc|c\+\+|clang|cpp|as|ld|make|cmake|rustc|cargo|go|javac|strip"
    r"|pip|easy_install|uv|uvx|poetry|conda|npm|apt|apt-get|apt-cache|dpkg|dpkg-deb|apk|yum|rpm"
    r"|curl|wget|ssh|git)(-?\d[\d.]*)?"
)
_INSTALLER_MODULES = {"pip", "setuptools", "ensurepip", "hatchling", "uv", "wheel", "pytest"}
_SECRET_FILES = re.compile(
    r"(\.env.*|.*\.key|id_[a-z0-9]+|\.netrc|\.pypirc|pip\.conf|\.git-credentials|config\.json)"
)
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\r?\n[A-Za-z0-9+/=]{40}")
_SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|CREDENTIAL|API_KEY")
_SET_BY_BASE = {"LANG", "GPG_KEY", "PYTHON_VERSION", "PYTHON_SHA256"}
_LABELS = ("title", "description", "licenses", "version", "revision", "created")


def test_says_who_it_is(image: Image):
    labels = image.inspect()["Config"]["Labels"]
    found = {name: labels.get(f"org.opencontainers.image.{name}", "") for name in _LABELS}
    assert all(value not in {"", "unknown"} for value in found.values()), found
    assert found["title"] == image.name
    assert found["licenses"] == "Apache-2.0"
    assert found["version"] == version("stigma-core")


def test_is_configured_for_a_cluster(image: Image):
    config = image.inspect()["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["python", "-P", "-m", image.service]
    assert not config["Cmd"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["WorkingDir"] == "/var/lib/stigma"
    assert "Healthcheck" not in config
    assert not config.get("ExposedPorts")
    ours = {"PATH", "HOME", "PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE"}
    assert {line.partition("=")[0] for line in config["Env"]} - _SET_BY_BASE == ours


def test_adds_little_to_its_base(image: Image, record_property):
    layers, base = (one["RootFS"]["Layers"] for one in (image.inspect(), image.base()))
    assert layers[: len(base)] == base
    megabytes = image.own_bytes() / 1e6
    record_property("own_mb", f"{megabytes:.0f}")
    assert megabytes <= OWN_MEGABYTES


def test_holds_no_compiler_installer_or_secret(image: Image):
    wrong = []
    with files_of(image) as archive:
        for entry in archive:
            path = PurePath("/", entry.name)
            wrong += [f"{what}: {path}" for what in _faults(entry, path)]
            if (
                entry.isfile()
                and path.is_relative_to("/opt")
                and (found := archive.extractfile(entry))
            ):
                wrong += [f"{what}: {path}" for what in _leaks(found.read())]
    assert wrong == []


def test_its_history_names_no_index(image: Image):
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image.reference).stdout
    assert "COPY" in history
    assert not re.search(r"https?://|INDEX_URL|" + _SECRET_NAMES.pattern, history)


def _faults(entry: tarfile.TarInfo, path: PurePath) -> list[str]:
    faults = []
    parents = {part.name for part in path.parents}
    if not entry.isdir() and path.parent.name in {"bin", "sbin"} and _NEVER.fullmatch(path.name):
        faults.append("compiler or installer")
    if entry.isdir() and path.parent.name in {"site-packages", "python3"} | _stdlib(path):
        faults += ["installer"] if path.name in _INSTALLER_MODULES else []
    if path.is_relative_to("/opt") and path.name == "tests" and "site-packages" in parents:
        faults.append("tests")
    if not path.is_relative_to("/etc") and entry.isfile() and _SECRET_FILES.fullmatch(path.name):
        faults.append("secret")
    if not path.is_relative_to("/var/lib/stigma") and 10001 in {entry.uid, entry.gid}:
        faults.append("owned by the service")
    if not entry.issym() and entry.mode & 0o002 and not entry.mode & 0o1000 and not entry.isdev():
        faults.append("everybody may write")
    return faults


def _stdlib(path: PurePath) -> set[str]:
    return {path.parent.name} if re.fullmatch(r"python3\.\d+", path.parent.name) else set()


def _leaks(content: bytes) -> list[str]:
    leaks = ["private key"] if _PRIVATE_KEY.search(content) else []
    leaks += [
        f"value of {name}"
        for name, value in os.environ.items()
        if _SECRET_NAMES.search(name) and len(value) >= 12 and value.encode() in content
    ]
    return leaks
