"""Helm as the tests run it: renders a chart's values, or says why it refuses them."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "deploy" / "helm"
TOOLS = Path(os.environ.get("STIGMA_TOOLS_DIR", ROOT / ".tools"), "charts")

WORKERS = ("stigma-orchestrator", "ai-worker", "zigflow-worker")
SERVICES = ("stigma-api", *WORKERS)
UMBRELLA = "stigma"
ALL = (*SERVICES, UMBRELLA)

# It must not find a cluster; it lives too short to collect garbage.
_ENVIRONMENT = {"HOME": "/nonexistent", "KUBECONFIG": "/nonexistent", "GOGC": "800"}

Document = dict[str, Any]
Values = dict[str, Any]


@dataclass(frozen=True)
class Helm:
    """One major version of Helm."""

    major: int

    @property
    def program(self) -> Path:
        """The binary, which tools/charts/ensure makes."""
        return TOOLS / f"helm{self.major}"

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run it to its end, whatever its exit code, without any cluster."""
        return subprocess.run(
            [self.program, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=_ENVIRONMENT,
        )

    def template(self, chart: str | Path, values: Values, *, release: str = "stigma") -> str:
        """Return the manifests of a chart.

        Raises:
            RefusedError: Helm does not accept the values.
        """
        return _template(self, str(CHARTS / chart), json.dumps(values, sort_keys=True), release)

    def documents(
        self, chart: str | Path, values: Values, *, release: str = "stigma"
    ) -> list[Document]:
        """Return the manifests as objects."""
        return parse(self.template(chart, values, release=release))


class RefusedError(Exception):
    """Helm refused; the message is what it says on stderr."""


@functools.cache
def _template(helm: Helm, chart: str, values: str, release: str) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(values)
        file.flush()
        done = helm.run("template", release, chart, "--namespace", "apps", "--values", file.name)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "symbolic link" not in line]
        raise RefusedError("\n".join(said))
    return done.stdout


class _Strict(YAML):
    """Refuses a key that is given twice in one mapping, as Kubernetes does."""

    def __init__(self) -> None:
        super().__init__(typ="safe", pure=True)
        self.allow_duplicate_keys = False


def parse(manifests: str) -> list[Document]:
    """Return the objects in a text of manifests."""
    return [document for document in _Strict().load_all(manifests) if document]


def chunks(manifests: str) -> dict[str, str]:
    """Return the text of each manifest, by kind and name."""
    found = {}
    for text in manifests.split("\n---\n"):
        for document in parse(text):
            found[f"{document['kind']}/{document['metadata']['name']}"] = text
    return found


def named(documents: list[Document], kind: str, name: str = "") -> Document:
    """Return the one object of a kind, or of a kind and name."""
    [found] = [
        document
        for document in documents
        if document["kind"] == kind and name in ("", document["metadata"]["name"])
    ]
    return found


def pod_specs(documents: list[Document]) -> dict[str, Document]:
    """Return the spec of every pod that the objects make, by kind and name."""
    found = {}
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] != "Pod":
            spec = spec.get("template", {}).get("spec", {})
        if "containers" in spec:
            found[f"{document['kind']}/{document['metadata']['name']}"] = spec
    return found


def environment(container: Document) -> dict[str, Any]:
    """Return a container's variables: the value, or where it comes from."""
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}
