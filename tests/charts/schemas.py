"""The schemas that manifests must satisfy: Kubernetes' own, and those of custom resources."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
from ruamel.yaml import YAML

from tests.charts.helm import TOOLS, Document

_OWN_CRDS = Path(__file__).parent / "crds"
_TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "made"}
_DEFINITIONS = "https://kubernetes.io/api/_definitions.json"


def kubernetes_versions() -> list[str]:
    """Return the versions of Kubernetes whose schemas are here, oldest first."""
    return sorted(path.name for path in TOOLS.glob("kubernetes-*/*") if path.is_dir())


def problems(document: Document, kubernetes: str) -> list[str]:
    """Return what is wrong with a manifest, for one version of Kubernetes: nothing, one hopes."""
    validator = _validator(document["apiVersion"], document["kind"], kubernetes)
    found = [_line(error) for error in validator.iter_errors(document)]
    # The controller makes such an object from it, with what it fills in itself.
    if document["kind"] == "WorkerResourceTemplate":
        made = {**document["spec"]["template"], "metadata": {"name": "made"}}
        if made["spec"].get("scaleTargetRef") == {}:
            made["spec"] = made["spec"] | {"scaleTargetRef": _TARGET}
        found += problems(made, kubernetes)
    if document["kind"] == "WorkerDeployment":
        pod = {**document["spec"]["template"], "metadata": {"name": "made"}}
        found += problems({"apiVersion": "v1", "kind": "Pod", **pod}, kubernetes)
    return found


def _line(error: jsonschema_rs.ValidationError) -> str:
    return f"/{'/'.join(str(step) for step in error.instance_path)}: {error.message}"


@functools.cache
def _validator(api_version: str, kind: str, kubernetes: str) -> Any:
    custom = _custom_resources().get((api_version, kind))
    if custom is not None:
        return jsonschema_rs.validator_for(custom)
    # As the package names them: networking.k8s.io/v1 is networking-v1, apps/v1 is apps-v1.
    name = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    [directory] = TOOLS.glob(f"kubernetes-*/{kubernetes}")
    schema = json.loads((directory / f"{kind.lower()}-{name}.json").read_text())
    return jsonschema_rs.validator_for(schema, registry=_definitions(kubernetes))


@functools.cache
def _definitions(kubernetes: str) -> Any:
    [path] = TOOLS.glob(f"kubernetes-*/{kubernetes}/_definitions.json")
    return jsonschema_rs.Registry([(_DEFINITIONS, json.loads(path.read_text()))])


@functools.cache
def _custom_resources() -> dict[tuple[str, str], Any]:
    found = {}
    for path in [*TOOLS.glob("crds-*/*.yaml"), *_OWN_CRDS.glob("*.json")]:
        # JSON is YAML.
        spec = YAML(typ="safe", pure=True).load(path.read_text())["spec"]
        for version in spec["versions"]:
            key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
            found[key] = _strict(version["schema"]["openAPIV3Schema"])
    return found


def _strict(schema: Any, *, properties: bool = False) -> Any:
    """A schema that refuses fields it does not know: the API server drops them in silence."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {
        key: _strict(value, properties=key == "properties" and not properties)
        for key, value in schema.items()
    }
    if properties or "properties" not in strict:
        return strict
    if "additionalProperties" in strict or "x-kubernetes-preserve-unknown-fields" in strict:
        return strict
    return strict | {"additionalProperties": False}
