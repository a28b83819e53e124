"""The files that images are made of, without building any."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.images.images import SERVICE_IMAGES, TEMPORAL_VERSION, Image

ROOT = Path(__file__).parents[2]


def _read(path: str) -> str:
    return (ROOT / path).read_text()


DOCKERFILE = _read("services/Dockerfile")


def _dependencies(path: str) -> list[str]:
    return list(tomllib.loads(_read(f"{path}/pyproject.toml"))["project"]["dependencies"])


def _needed(path: str) -> set[str]:
    """Our packages that a project needs, with those they need; not services that it starts."""
    found: set[str] = set()
    for requirement in _dependencies(path):
        name = re.split(r"[^a-z-]", requirement)[0]
        if name.startswith("stigma-") and (ROOT / "packages" / name).is_dir():
            found |= {name} | _needed(f"packages/{name}")
    return found


@pytest.mark.parametrize("image", SERVICE_IMAGES, ids=lambda image: image.name)
def test_holds_the_packages_that_its_service_needs(image: Image):
    cases: dict[str, str] = dict(
        re.findall(r'^ +([a-z_*]+)\) packages="([a-z -]+)" ;;', DOCKERFILE, re.MULTILINE)
    )
    expected = _needed(f"services/{image.service}")
    if image.service == "stigma_api":  # where the command is
        expected |= {"stigma-cli"} | _needed("packages/stigma-cli")
    assert set(cases.get(image.service, cases["*"]).split()) == expected


def test_builds_with_the_classic_builder_too():
    assert "--mount" not in DOCKERFILE
    assert not re.search(r"^# *(syntax|escape) *=", DOCKERFILE, re.MULTILINE)


def test_nothing_is_sent_that_is_not_asked_for():
    rules = [line for line in _read(".dockerignore").splitlines() if not line.startswith("#")]
    assert rules[0] == "*"


def test_compose_names_what_is_built():
    version = tomllib.loads(_read("pyproject.toml"))["project"]["version"]
    services = YAML(typ="safe").load(_read("compose.yaml"))["services"]
    images = {service["image"] for service in services.values()}
    expected = {f"stigma/{image.name}:${{STIGMA_VERSION:-{version}}}" for image in SERVICE_IMAGES}
    expected.add(f"stigma/temporal-dev:${{STIGMA_TEMPORAL_VERSION:-{TEMPORAL_VERSION}}}")
    assert images == expected
    assert f"\nVERSION={TEMPORAL_VERSION}\n" in _read("tools/temporal/ensure")
    assert f"\ntemporal-bin=={TEMPORAL_VERSION} " in _read("requirements.lock")


def test_composes_key_is_the_one_that_the_api_knows():
    compose = YAML(typ="safe").load(_read("compose.yaml"))
    principals = YAML(typ="safe").load(_read("deploy/compose/principals.yaml"))["principals"]
    key = compose["services"]["zigflow-worker"]["environment"]["STIGMA_API_KEY"]
    assert principals[0]["key_sha256"] == [hashlib.sha256(key.encode()).hexdigest()]
