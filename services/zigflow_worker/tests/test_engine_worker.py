"""The worker as the service makes it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from temporalio.client import Client

from stigma.runtime import (
    ConfigurationError,
    Readiness,
    ServiceRuntime,
    WorkerComponent,
    load_settings,
)
from zigflow_worker.settings import EngineSettings
from zigflow_worker.worker import build


@dataclass
class Runtime:
    """As much of a service's runtime as the worker takes."""

    client: Client
    readiness: Readiness = field(default_factory=Readiness)
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)

    async def connect_temporal(self, **_: Any) -> Client:
        return self.client


async def test_activities_need_no_threads(temporal: Client) -> None:
    """They are all async; a pool smaller than their number is a warning, here an error."""
    runtime = cast("ServiceRuntime", Runtime(temporal))
    [component] = await build(runtime, settings=EngineSettings())
    assert isinstance(component, WorkerComponent)
    config = component._worker.config(active_config=True)
    assert config.get("activity_executor") is None
    activities = {each.__name__: each for each in config["activities"]}
    assert activities.keys() == {
        "resolve_definition",
        "end_activation",
        "record_plan",
        "wait_exactly",
        "evaluate_rules",
        "call_http",
        "call_openapi",
        "call_grpc",
        "fetch_resource",
        "call_agent",
        "cancel_agent",
        "call_workflow",
        "cancel_workflow",
    }
    assert all(inspect.iscoroutinefunction(each) for each in activities.values())
    assert config["max_concurrent_activities"] == 200


@pytest.mark.parametrize(
    ("variables", "refusal"),
    [
        ({"KEY": "sesame"}, "in clear"),
        ({"KEY": "sesame", "TLS": "true"}, None),
        ({"KEY": "sesame", "TLS_SERVER_NAME": "api"}, None),
        ({"KEY": "sesame", "ALLOW_INSECURE": "true"}, None),
        ({"TLS_CLIENT_CERT": "/tls/cert.pem"}, "go together"),
        ({"TLS_CLIENT_CERT": "/tls/cert.pem", "TLS_CLIENT_KEY": "/tls/key.pem"}, None),
    ],
)
def test_how_the_api_is_reached(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], refusal: str | None
) -> None:
    monkeypatch.setenv("STIGMA_API_ADDRESS", "api.example:1")
    for name, value in variables.items():
        monkeypatch.setenv(f"STIGMA_API_{name}", value)
    settings = EngineSettings()
    if refusal is None:
        settings.api_connection()
        return
    with pytest.raises(ConfigurationError, match=refusal) as raised:
        settings.api_connection()
    assert "sesame" not in str(raised.value)


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_TLS", "API_TLS_CA", "WORKFLOWS_DIR"):
        monkeypatch.setenv(f"STIGMA_{name}", "")
    settings = load_settings(EngineSettings, "zigflow_worker", argv=[])
    assert (settings.api_tls, settings.api_tls_ca, settings.workflows_dir) == (False, None, None)
