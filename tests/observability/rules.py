"""The alerts as they are shipped, and the same ones in a hurry."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

CHARTS = Path(__file__).resolve().parents[2] / "deploy" / "helm"
SERVICES = {
    "stigma-api": "stigma_api",
    "stigma-orchestrator": "stigma_orchestrator",
    "ai-worker": "ai_worker",
    "zigflow-worker": "zigflow_worker",
}
"""The charts, which are the `job` of their services' metrics, and those services."""

Rule = dict[str, Any]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = r"(\d+)([smhd])"


def path_of(chart: str) -> Path:
    """Return the file of a chart's alerts."""
    return CHARTS / chart / "files" / "rules.yaml"


def groups_of(chart: str) -> list[dict[str, Any]]:
    """Return what that file says."""
    return list(YAML(typ="safe", pure=True).load(path_of(chart).read_text())["groups"])


def alerts_of(chart: str) -> list[Rule]:
    """Return a chart's alerts."""
    return [rule for group in groups_of(chart) for rule in group["rules"]]


def hurried(chart: str, *, factor: int, least: timedelta) -> dict[str, Any]:
    """Return a chart's alerts with every duration divided by `factor`.

    The durations are an alert's `for`, and the range of what it looks back on; a range stays at
    `least` at least, for a rate needs some scrapes within it. Nothing else changes: the numbers
    that are compared with are those that are shipped.
    """
    groups = groups_of(chart)
    for group in groups:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule["expr"] = re.sub(
                rf"\[{_DURATION}\]",
                lambda match: f"[{_divided(match, factor, least)}]",
                rule["expr"],
            )
            if "for" in rule:
                written = re.fullmatch(_DURATION, rule["for"])
                assert written is not None, rule["for"]
                rule["for"] = _divided(written, factor, timedelta(seconds=1))
    return {"groups": groups}


def _divided(match: re.Match[str], factor: int, least: timedelta) -> str:
    seconds = int(match[1]) * _UNITS[match[2]] // factor
    return f"{max(seconds, int(least.total_seconds()))}s"
