"""Each alert has its runbook, and runbooks ask for metrics that there are."""

from __future__ import annotations

import re

from ruamel.yaml import YAML

from tests.docs.pages import ROOT, page_paths, read_page

RUNBOOKS = ROOT / "docs" / "runbooks"
_PLACE = "https://github.com/stigma-dev/stigma/blob/main/docs/runbooks/"
# What is no metric in a query: functions, operators and labels.
_METRIC = re.compile(r"\b((?:stigma|external|pending|zigflow)_[a-z_]+)\b(?!\s*=)")
_OF_HISTOGRAM = re.compile(r"_(bucket|count|sum)$")


def _alerts() -> dict[str, str]:
    rules = [
        rule
        for file in (ROOT / "deploy" / "helm").glob("*/files/rules.yaml")
        for group in YAML(typ="safe").load(file)["groups"]
        for rule in group["rules"]
    ]
    return {rule["alert"]: rule["annotations"]["runbook_url"] for rule in rules}


def test_each_alert_has_its_page() -> None:
    alerts = _alerts()
    assert len(alerts) >= 12
    for alert, url in alerts.items():
        page = RUNBOOKS / url.removeprefix(_PLACE)
        assert url.startswith(_PLACE), alert
        assert page.read_text(encoding="utf-8").startswith(f"# Alert: {alert}\n")


def test_the_operators_page_leads_to_each_alert() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    missing = [
        alert
        for alert, url in _alerts().items()
        if f"[{alert}](runbooks/{url.rpartition('/')[2]})" not in text
    ]
    assert missing == []


def test_queries_ask_for_metrics_that_there_are() -> None:
    known = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "metrics.md").read_text("utf-8")))
    asked = {
        _OF_HISTOGRAM.sub("", name) if name not in known else name
        for path in page_paths()
        for block in read_page(path).blocks
        if block.language == "promql"
        for name in _METRIC.findall(block.text)
    }
    assert len(asked) > 10
    assert sorted(asked - known) == []
