"""How the API is reached, and with whose key."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from client_test_late_caller import LateCaller
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from temporalio.client import Client
from temporalio.worker import Worker

from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma_client import ApiConnection, StigmaPlugin, TlsFiles
from stigma_client.connection import ConnectionSettingError

if TYPE_CHECKING:
    from conftest import StandInApi


async def start(connection: ApiConnection) -> None:
    await connection.executions.StartAgent(StartAgentRequest(), metadata=connection.metadata())


async def test_the_key_is_a_bearer_token(api: StandInApi) -> None:
    connection = ApiConnection(api.address, api_key="sesame")
    await start(connection)
    await connection.close()
    assert api.metadata[0]["authorization"] == "Bearer sesame"


@pytest.mark.parametrize("key", ["sesame\n", " sesame\r\n", "\tsesame"])
async def test_blanks_around_a_key_are_taken_off(api: StandInApi, key: str) -> None:
    environment = {"STIGMA_API_ADDRESS": api.address, "STIGMA_API_KEY": key}
    for connection in (
        ApiConnection(api.address, api_key=key),
        ApiConnection.from_environment(environment),
    ):
        await start(connection)
        await connection.close()
        assert api.metadata[-1]["authorization"] == "Bearer sesame"


@pytest.mark.parametrize("key", ["gehäim", "se same", "se\nsame", "sesame\x00", "🔑"])
def test_a_key_that_cannot_be_sent_is_refused_without_its_value(key: str) -> None:
    with pytest.raises(ValueError, match="STIGMA_API_KEY has blanks") as raised:
        ApiConnection.from_environment({"STIGMA_API_KEY": key})
    assert key not in str(raised.value)
    with pytest.raises(ValueError, match="the API key has blanks"):
        StigmaPlugin(api_key=key)


@pytest.mark.parametrize("module", ["stigma_client.plugin", "stigma.runtime", "ai_worker.worker"])
async def test_no_propagator_of_the_environment_is_read(module: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"import {module}",
        env=os.environ | {"OTEL_PROPAGATORS": "tracecontext,baggage,b3"},
    )
    assert await process.wait() == 0


def test_what_is_exported_is_imported_when_it_is_used() -> None:
    program = """\
import sys, stigma_client
assert not {"grpc", "temporalio"} & {*sys.modules}
from stigma_client import *
assert {*stigma_client.__all__} <= {*globals()}
assert not hasattr(stigma_client, "nothing")
"""
    done = subprocess.run([sys.executable, "-P", "-c", program], check=False, timeout=180)
    assert done.returncode == 0


async def test_a_sandbox_without_the_plugin_imports_while_a_workflow_runs(client: Client) -> None:
    queue = f"late-{uuid.uuid4()}"
    async with Worker(client, task_queue=queue, workflows=[LateCaller]):
        timeout = timedelta(seconds=60)
        name = await client.execute_workflow(
            LateCaller.run, id=queue, task_queue=queue, execution_timeout=timeout
        )
    assert name == "run_agent"


async def test_without_a_key_there_is_no_authorization(api: StandInApi) -> None:
    connection = ApiConnection(api.address)
    await start(connection)
    await connection.close()
    assert "authorization" not in api.metadata[0]


async def test_a_closed_connection_opens_again(api: StandInApi) -> None:
    connection = ApiConnection(api.address)
    await start(connection)
    await connection.close()
    await start(connection)
    await connection.close()
    await connection.close()
    assert len(api.starts) == 2


async def test_the_current_trace_goes_along(api: StandInApi) -> None:
    span = NonRecordingSpan(
        SpanContext(trace_id=0xABC, span_id=0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    )
    connection = ApiConnection(api.address)
    with trace.use_span(span):
        await start(connection)
    await connection.close()
    assert api.metadata[0]["traceparent"] == f"00-{0xABC:032x}-{0xDEF:016x}-01"


@pytest.mark.parametrize(
    "address",
    [
        "api.example:7300",
        "10.0.0.7:7300",
        "dns:///api.example:7300",
        "dns://8.8.8.8/localhost:7300",
        "localhost.example:7300",
    ],
)
def test_a_key_does_not_cross_a_network_in_clear(address: str) -> None:
    with pytest.raises(ValueError, match="in clear") as raised:
        ApiConnection(address, api_key="sesame")
    assert "sesame" not in str(raised.value)


@pytest.mark.parametrize(
    "address",
    [
        "localhost:7300",
        "127.0.0.1:7300",
        "[::1]:7300",
        "dns:///localhost:7300",
        "ipv4:127.0.0.1:7300",
        "unix:/run/api",
        "unix-abstract:api",
    ],
)
def test_a_key_may_stay_on_this_machine_in_clear(address: str) -> None:
    ApiConnection(address, api_key="sesame")


def test_a_key_in_clear_can_be_allowed() -> None:
    ApiConnection("api.example:7300", api_key="sesame", allow_insecure=True)
    ApiConnection("api.example:7300", api_key="sesame", tls=TlsFiles())


def test_the_environment_configures_it() -> None:
    in_clear = r"an API key for api\.example:1 .*: set STIGMA_API_TLS=true, .*_ALLOW_INSECURE=true"
    with pytest.raises(ConnectionSettingError, match=in_clear):
        ApiConnection.from_environment(
            {"STIGMA_API_ADDRESS": "api.example:1", "STIGMA_API_KEY": "sesame"}
        )
    ApiConnection.from_environment(
        {
            "STIGMA_API_ADDRESS": "api.example:1",
            "STIGMA_API_KEY": "sesame",
            "STIGMA_API_TLS": "true",
        }
    )
    ApiConnection.from_environment(
        {
            "STIGMA_API_ADDRESS": "api.example:1",
            "STIGMA_API_KEY": "sesame",
            "STIGMA_API_TLS": "no",
            "STIGMA_API_ALLOW_INSECURE": "yes",
        }
    )


def test_errors_of_the_environment_name_variables_only() -> None:
    for given, variable in (
        ({"STIGMA_API_KEY": "ses ame"}, "STIGMA_API_KEY has blanks"),
        ({"STIGMA_API_TLS_CLIENT_KEY": "/k"}, "STIGMA_API_TLS_CLIENT_CERT and "),
    ):
        with pytest.raises(ConnectionSettingError, match=variable) as raised:
            ApiConnection.from_environment(given)
        assert str(raised.value) == raised.value.by_variables
    with pytest.raises(ConnectionSettingError, match="configure TLS, or allow_insecure"):
        ApiConnection("api.example:1", api_key="sesame")


def test_a_malformed_variable_is_named() -> None:
    with pytest.raises(ValueError, match="STIGMA_API_TLS is 'maybe'"):
        ApiConnection.from_environment({"STIGMA_API_TLS": "maybe"})


def test_the_plugin_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STIGMA_API_ADDRESS", "api.example:1")
    monkeypatch.setenv("STIGMA_API_KEY", "sesame")
    with pytest.raises(ValueError, match="in clear"):
        StigmaPlugin.from_environment()


async def test_a_missing_file_is_reported_when_the_channel_opens(tmp_path: Path) -> None:
    connection = ApiConnection("localhost:1", tls=TlsFiles(ca=tmp_path / "absent.pem"))
    with pytest.raises(FileNotFoundError):
        connection.executions  # noqa: B018


def test_half_a_client_certificate_is_refused() -> None:
    with pytest.raises(ValueError, match="go together"):
        ApiConnection.from_environment({"STIGMA_API_TLS_CLIENT_CERT": "/tls/cert.pem"})
    with pytest.raises(ValueError, match="go together"):
        TlsFiles(key=Path("/tls/key.pem"))
