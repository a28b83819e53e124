"""Writes docs/metrics.md: `python -m tools.metrics`; `--check` only says whether it is fresh."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.docs.markdown import code, table
from tools.metrics.catalog import Described, by_service, every_service

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"

# Of labels whose values are not all there from the start; each is bounded.
BOUNDED = {
    "method": "full name of a method that the API serves",
    "code": "gRPC status code, for instance `OK`",
    "provider": "name in the providers file, `scripted`, or `unknown`",
    "model": "a model of the providers file or the price list, `scripted`, `other` or `unknown`",
    "outcome": "`SUCCESS`, `CANCELLED` or a failure reason, for instance `RATE_LIMITED`; with "
    "`server`: `OK`, `ERROR`, `NOT_RUN`, `UNKNOWN`, `CANCELLED`; of connections `OPENED`, `FAILED`",
    "server": "name of an McpServer in the providers file, or `unknown`",
    "direction": "`input` or `output`",
    "cache": "`read` or `write`",
    "service": "the service's name",
    "version": "Python's",
    "implementation": "Python's",
    "major": "Python's",
    "minor": "Python's",
    "patchlevel": "Python's",
}

_HEAD = """\
# Metrics

<!-- Written by `python -m tools.metrics`: change the code that makes the metrics instead. -->

Each service shows its metrics at `/metrics` of its admin port, in Prometheus' text format; the
charts have monitors for the Prometheus operator (`monitoring.scrape`), alerts
(`monitoring.rules`; the files `deploy/helm/*/files/rules.yaml`, which Prometheus also reads without
Helm) and a dashboard (`monitoring.dashboard`). The alerts expect that each service's `job` label is
its chart's name, and that there is a `pod` label.

- **Counters** begin at 0 with each process: ask for `sum(rate(…[5m]))` over all replicas. Where
  their labels' values are known they are there from the start, so that the first failure is an
  increase too.
- **Gauges of the whole installation** (marked ⊕) are read from Temporal, every
  `STIGMA_CLUSTER_METRICS_INTERVAL`, by each replica of the API: they are right after a restart and
  the same everywhere, so take one of them: `max without (instance, pod) (stigma_workflow_running)`.
  They are absent, and not old, once Temporal could not be asked for four intervals (30 s at
  least). An age is counted from when the execution was accepted, also after it continued as new.
- **Labels are bounded**: no id, no name that a caller chooses. Agents are told apart in Temporal's
  visibility (`StigmaAgent`), not here.
"""

_SDK = """\
## The Temporal SDK's own

`temporal_*`, on every service, beside the above: polls, task latencies, slots, cache, requests to
Temporal, by `namespace`, `task_queue`, `workflow_type`, `activity_type`. See
[Temporal's reference](https://docs.temporal.io/references/sdk-metrics). Most useful here:

| metric | says |
|---|---|
| `temporal_workflow_task_schedule_to_start_latency_seconds` | how long workflow tasks waited |
| `temporal_activity_schedule_to_start_latency_seconds` | how long activities waited for a worker |
| `temporal_worker_task_slots_available` | what a worker could still take |
| `temporal_request_failure_total` | failed requests to Temporal, by operation and code |

A document's name is its `workflow_type`: who starts inline documents under ever new names makes
ever new series.
"""


def page() -> str:
    """Return the page."""
    return "\n".join(_lines()).rstrip() + "\n"


def _lines() -> Iterator[str]:
    yield _HEAD
    for service, metrics in by_service().items():
        yield f"## {service}"
        yield ""
        yield from _table(metrics)
    yield "## Every service"
    yield ""
    yield from _table(every_service())
    yield _SDK


def _table(metrics: Sequence[Described]) -> Iterator[str]:
    yield from table(
        ("metric", "type", "unit", "labels", "says"),
        (
            (code(one.name), one.kind, one.unit, _labels(one), _text(one))
            for one in sorted(metrics, key=lambda one: one.name)
        ),
    )


def _text(metric: Described) -> str:
    return f"⊕ {metric.text}" if metric.of_cluster else metric.text


def _labels(metric: Described) -> str:
    return "; ".join(f"{code(label)}: {_values(metric, label)}" for label in metric.labels)


def _values(metric: Described, label: str) -> str:
    if label in metric.values:
        return ", ".join(code(value) for value in metric.values[label])
    return BOUNDED[label]


def main() -> int:
    """Write or check; returns the exit code."""
    fresh = page()
    if sys.argv[1:] == ["--check"]:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == fresh:
            return 0
        sys.stderr.write("not fresh: docs/metrics.md (run python -m tools.metrics)\n")
        return 1
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
