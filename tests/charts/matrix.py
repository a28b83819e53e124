"""Sets of values: the least a chart needs, everything, and each switch by itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.charts.helm import CHARTS, UMBRELLA, Values
from tools.charts.generate import Value, global_values, leaves, parse

_EVERYTHING = Path(__file__).parent / "values"

_LEAST: dict[str, Values] = {
    "stigma-api": {"temporal": {"address": "temporal:7233"}},
    "stigma-orchestrator": {"temporal": {"address": "temporal:7233"}},
    "ai-worker": {"temporal": {"address": "temporal:7233"}},
    "zigflow-worker": {
        "temporal": {"address": "temporal:7233"},
        "api": {"address": "stigma-api-headless:7300"},
    },
    UMBRELLA: {"temporal": {"devServer": {"enabled": True}}},
}

_POSTGRESQL = {"registry": {"type": "postgresql", "postgresql": {"urlSecret": {"name": "db"}}}}
_PRINCIPALS = {"auth": {"principals": [{"name": "billing"}]}}
_STEPS = [{"rampPercentage": 10, "pauseDuration": "1m"}]

_SERVER: Values = {
    "temporal": {"devServer": {"enabled": False}},
    "global": {"stigma": {"temporal": {"address": "temporal:7233"}}},
}

# What a switch cannot be without.
_COMPANIONS: dict[tuple[str, str], Values] = {
    ("stigma-api", "registry.type"): _POSTGRESQL,
    ("stigma-api", "autoscaling.enabled"): _POSTGRESQL,
    ("stigma-api", "auth.generatedKey"): _PRINCIPALS,
    ("stigma-api", "tls.enabled"): {"tls": {"secret": "api-tls"}},
    ("stigma-api", "console.ingress.enabled"): {
        "console": {"enabled": True, "ingress": {"host": "stigma.example.com"}}
    },
    ("stigma-api", "console.gateway.enabled"): {
        "console": {
            "enabled": True,
            "gateway": {"host": "stigma.example.com", "className": "envoy", "tlsSecret": "t"},
        }
    },
    (UMBRELLA, "global.stigma.versioning.rollout.strategy"): {
        **_SERVER,
        "global": {
            "stigma": {
                "temporal": {"address": "temporal:7233"},
                "versioning": {"mode": "controller", "rollout": {"steps": _STEPS}},
            }
        },
    },
    **{
        (worker, "versioning.rollout.strategy"): {
            "versioning": {"mode": "controller", "rollout": {"steps": _STEPS}}
        }
        for worker in ("stigma-orchestrator", "ai-worker", "zigflow-worker")
    },
}
_NOT_A_SWITCH = {"global.stigma.umbrella"}


def least(chart: str) -> Values:
    """Return values that say where things are, and nothing else."""
    return copy.deepcopy(_LEAST[chart])


def everything(chart: str) -> Values:
    """Return values that set every value of a service's chart."""
    return _read(_EVERYTHING / f"{chart}.yaml")


def versioned(chart: str) -> Values:
    """Return everything, with the Temporal Worker Controller."""
    values = merged(everything(chart), {"versioning": {"mode": "controller"}})
    if values["temporal"]["apiKeySecret"]["name"]:
        values["temporal"]["tls"]["clientSecret"]["name"] = ""
    return values


def production() -> Values:
    """Return the umbrella's example for production."""
    return _read(CHARTS / UMBRELLA / "values-production.yaml")


def production_of(chart: str) -> Values:
    """Return what the example for production means for one chart."""
    values = production()
    return merged(least(chart), {"global": values["global"], **values.get(chart, {})})


def switches(chart: str) -> Iterator[tuple[str, Values]]:
    """Each value with few choices, set to each choice that is not its default, by itself."""
    shared = shared_values() if chart == UMBRELLA else []
    for path, value in [*documented(chart), *shared]:
        if path in _NOT_A_SWITCH:
            continue
        for choice in _choices(value):
            companions = _COMPANIONS.get((chart, path), {})
            values = merged(merged(least(chart), companions), _at(path, choice))
            yield f"{path}={choice}", values


def documented(chart: str) -> list[tuple[str, Value]]:
    """Every value that a chart documents, by path."""
    return list(leaves(parse((CHARTS / chart / "values.yaml").read_text()).tree))


def shared_values() -> list[tuple[str, Value]]:
    """Every value that the umbrella gives to all charts, by path."""
    return list(leaves(global_values(), "global.stigma."))


def merged(under: Values, over: Values) -> Values:
    """Return values with others over them, as Helm merges them."""
    result = copy.deepcopy(under)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _choices(value: Value) -> list[Any]:
    if isinstance(value.default, bool):
        return [not value.default]
    return [choice for choice in value.schema.get("enum", []) if choice != value.default]


def _at(path: str, value: Any) -> Values:
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def _read(path: Path) -> Values:
    return dict(YAML(typ="safe", pure=True).load(path.read_text()))
