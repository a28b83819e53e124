"""Notes that Helm prints after an installation: commands that reach the API and Temporal."""

from __future__ import annotations

import pytest

from tests.charts.helm import CHARTS, UMBRELLA, Helm, named

DEV_SERVER = "temporal.devServer.enabled=true"


def notes(helm: Helm, *values: str) -> list[str]:
    """Return the notes, without a cluster."""
    arguments = [argument for value in values for argument in ("--set", value)]
    done = helm.run("install", "x", CHARTS / UMBRELLA, "--dry-run=client", *arguments)
    assert done.returncode == 0, done.stderr
    return [line.strip() for line in done.stdout.partition("\nNOTES:\n")[2].splitlines()]


def test_the_commands_reach_the_dev_server_that_is_installed(helm4: Helm) -> None:
    shown = notes(helm4, DEV_SERVER)
    values = {"temporal": {"devServer": {"enabled": True}}}
    service = named(helm4.documents(UMBRELLA, values, release="x"), "Service", "x-temporal")
    assert {7233, 8233} <= {each["port"] for each in service["spec"]["ports"]}
    assert "kubectl --namespace default port-forward service/x-temporal 7233 8233" in shown
    assert "export TEMPORAL_ADDRESS=localhost:7233" in shown
    assert "kubectl --namespace default port-forward service/x-stigma-api 7300" in shown


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("temporal.namespace=prod", "export TEMPORAL_NAMESPACE=prod"),
        ("taskQueuePrefix=blue-", "export STIGMA_TASK_QUEUE_PREFIX=blue-"),
    ],
)
def test_the_commands_are_for_what_the_values_name(helm4: Helm, value: str, line: str) -> None:
    address = "global.stigma.temporal.address=temporal.example.com:7233"
    shown = notes(helm4, address, f"global.stigma.{value}")
    assert line in shown
    assert any(
        each.startswith("export TEMPORAL_ADDRESS=temporal.example.com:7233") for each in shown
    )
    assert not any("8233" in each for each in shown)
