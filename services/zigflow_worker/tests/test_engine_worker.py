"""The worker as the service makes it."""

from __future__ import annotations

import asyncio
import inspect
import threading
from dataclasses import dataclass, field
from datetime import timedelta
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
from zigflow_worker.worker import EngineWorker, build


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


async def test_no_thread_of_a_call_is_left_when_it_has_stopped(temporal: Client) -> None:
    runtime = cast("ServiceRuntime", Runtime(temporal))
    [component] = await build(runtime, settings=EngineSettings(task_queue_prefix="stopping-"))
    assert isinstance(component, EngineWorker)
    threads = component._rpc.threads
    thread = threads.submit(threading.current_thread).result()
    await component.stop(timedelta(seconds=1))
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("variables", "refusal"),
    [
        ({"KEY": "sesame"}, "in clear: set STIGMA_API_TLS=true, .*STIGMA_API_ALLOW_INSECURE"),
        ({"KEY": "ses ame", "TLS": "true"}, "STIGMA_API_KEY has blanks"),
        ({"KEY": "sesame", "TLS": "true"}, None),
        ({"KEY": "sesame", "TLS_SERVER_NAME": "api"}, None),
        ({"KEY": "sesame", "ALLOW_INSECURE": "true"}, None),
        ({"TLS_CLIENT_CERT": "/tls/cert.pem"}, "STIGMA_API_TLS_CLIENT_KEY go together"),
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


@pytest.mark.parametrize(
    ("variable", "value", "refusal"),
    [
        ("ALLOW", "10.0.0.0/33", "'10.0.0.0/33' is neither a network"),
        ("DENY", "http://x", "'http://x' is neither a network"),
        ("CONNECT_TO", "a:b", "'a:b' is not host:port:address:port"),
    ],
)
def test_outgoing_rules_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    refusal: str,
) -> None:
    monkeypatch.setenv(f"STIGMA_OUTGOING_{variable}", value)
    with pytest.raises(SystemExit) as ended:
        load_settings(EngineSettings, "zigflow_worker", argv=[])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"zigflow_worker: STIGMA_OUTGOING_{variable}: {refusal}")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("STIGMA_API_TLS_CA", "zigflow_worker: STIGMA_API_TLS_CA: '/none/x' cannot be read"),
        ("STIGMA_API_TLS_CLIENT_CERT", "zigflow_worker: STIGMA_API_TLS_CLIENT_CERT: '/none/x' "),
    ],
)
def test_a_file_that_is_not_there_is_told_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, problem: str
) -> None:
    monkeypatch.setenv("STIGMA_API_TLS_CLIENT_KEY", "/none/y")
    monkeypatch.setenv(name, "/none/x")
    with pytest.raises(SystemExit):
        load_settings(EngineSettings, "zigflow_worker", argv=[])
    assert capsys.readouterr().err.startswith(problem)


async def test_authorities_that_are_not_there_are_told(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/none/ca.pem")
    with pytest.raises(ConfigurationError, match=r"SSL_CERT_FILE: '/none/ca\.pem' cannot be read"):
        await build(cast("ServiceRuntime", Runtime(temporal)), settings=EngineSettings())


async def test_outgoing_settings_reach_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "ALLOW": "10.0.0.0/8, localhost",
        "DENY": "",
        "CONNECT_TO": "api.example.com:443:10.0.0.1:8443",
        "MAX_RESPONSE_BYTES": "4096",
        "CONNECT_TIMEOUT": "2.5",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"STIGMA_OUTGOING_{name}", value)
    settings = EngineSettings()
    limits = settings.http_limits()
    assert (limits.response_bytes, limits.connect_seconds, limits.redirects) == (4096, 2.5, 10)
    [address] = await settings.outgoing_policy().addresses("api.example.com", 443)
    assert address == ("10.0.0.1", 8443)
