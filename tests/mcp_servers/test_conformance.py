"""MCP's own conformance suite: agents on our AI worker are its client."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from pydantic import SecretStr

from ai_worker.mcp_resources import McpServerResource, OAuthClient
from services.stigma_api.tests.api_server import refused
from tests.mcp_servers.agents import Call, McpInstallation, Run
from tests.mcp_servers.conformance import Checks, run_scenario
from tests.mcp_servers.programs import Programs

NEW, OLD = "2026-07-28", "2025-11-25"


@dataclass
class Scenarios:
    """Runs scenarios with agents of one server, `suite`."""

    programs: Programs
    installation: McpInstallation
    directory: Path

    async def run(self, name: str, version: str, *calls: Call) -> tuple[Run, Checks]:
        """Run a scenario with an agent that makes these calls, or those of the scenario."""
        runs: list[Run] = []

        async def drive(url: str, context: dict[str, Any]) -> None:
            made = calls or [
                (each["name"], each["arguments"]) for each in context.get("toolCalls", [])
            ]
            async with self.installation.ai_worker(McpServerResource(name="suite", url=url)):
                runs.append(await self.installation.run("suite", made))

        checks = await run_scenario(self.programs, name, version, drive, self.directory)
        return runs[0], checks

    async def refused(self, name: str) -> tuple[str, Checks]:
        """Run a scenario whose server has no tool for an agent; return why it is not applied."""
        reasons: list[str] = []

        async def drive(url: str, context: dict[str, Any]) -> None:
            async with self.installation.ai_worker(McpServerResource(name="suite", url=url)):
                async with refused(grpc.StatusCode.INVALID_ARGUMENT) as refusal:
                    await self.installation.apply("suite")
                reasons.append(refusal.message)

        checks = await run_scenario(self.programs, name, NEW, drive, self.directory)
        return reasons[0], checks


@pytest.fixture
def scenarios(programs: Programs, installation: McpInstallation, tmp_path: Path) -> Scenarios:
    return Scenarios(programs, installation, tmp_path)


def all_passed(checks: Checks, *expected: str) -> bool:
    """Return whether these checks succeeded, and none has a failure or a warning."""
    assert checks.having("FAILURE", "WARNING") == [], checks.output
    return set(expected) <= set(checks.having("SUCCESS"))


@pytest.mark.parametrize("version", [NEW, OLD])
async def test_a_tool_is_called(scenarios: Scenarios, version: str) -> None:
    run, checks = await scenarios.run("tools_call", version, ("add_numbers", {"a": 1, "b": 2.5}))
    assert [each.content for each in run.results] == ["The sum of 1 and 2.5 is 3.5"]
    assert all_passed(checks, "ToolAddNumbers", "WireSchemaValid")


async def test_each_request_has_its_metadata(scenarios: Scenarios) -> None:
    reason, checks = await scenarios.refused("request-metadata")
    assert "MCP server 'suite' offers no tools" in reason
    assert all_passed(
        checks,
        "ClientSendsVersionHeader",
        "ClientPopulatesMeta",
        "ClientSendsClientInfo",
        "ClientVersionHeaderMatchesMeta",
        "ClientRetrySupportedVersion",
    )


async def test_each_request_has_its_headers(scenarios: Scenarios) -> None:
    calls: list[Call] = [("test_headers", {}), ("my-hyphenated-tool", {})]
    run, checks = await scenarios.run("http-standard-headers", NEW, *calls)
    assert run.outcomes == ["OK", "OK"]
    assert all_passed(
        checks,
        "ClientMcpMethodHeader_tools_list",
        "ClientMcpMethodHeader_tools_call",
        "ClientMcpNameHeader_tools_call",
    )
    # Nothing else was sent: this version has no ping.
    assert len(checks.having("SUCCESS")) == 3


async def test_arguments_are_sent_as_headers(scenarios: Scenarios) -> None:
    without = {"region": "us-east1", "priority": 1, "query": "SELECT 1"}
    null = ("test_custom_headers_null", {**without, "verbose": None})
    run, checks = await scenarios.run(
        "http-custom-headers", NEW, *_CUSTOM, null, (null[0], without)
    )
    # The schema has a boolean: null does not reach the server.
    assert run.outcomes == ["OK", "REFUSED", "OK"]
    assert all_passed(checks, "ClientSupportsCustomHeaders", "ClientCustomHeaderOmitNull")
    assert len(checks.having("SUCCESS")) >= 18


_CUSTOM: list[Call] = [
    (
        "test_custom_headers",
        {
            "region": "us-west1",
            "priority": 42,
            "verbose": False,
            "debug": True,
            "empty_val": "",
            "method_val": "test-method",
            "float_val": 3.14159,
            "non_ascii_val": "Hello, 世界",
            "whitespace_val": " padded ",
            "leading_space_val": " us-west1",
            "trailing_space_val": "us-west1 ",
            "internal_space_val": "us west 1",
            "control_char_val": "line1\nline2",
            "crlf_val": "line1\r\nline2",
            "tab_val": "\tindented",
            "query": "SELECT * FROM users",
        },
    )
]


async def test_tools_with_bad_headers_are_left_out(scenarios: Scenarios) -> None:
    calls: list[Call] = [
        ("valid_tool", {"region": "eu"}),
        ("invalid_empty_header", {"value": "x"}),
        ("invalid_duplicate_diff_case", {"field1": "x", "field2": "y"}),
    ]
    run, checks = await scenarios.run("http-invalid-tool-headers", NEW, *calls)
    assert run.outcomes == ["OK", "REFUSED", "REFUSED"]
    assert run.results[1].content.endswith("The tools are: valid_tool.")
    assert all_passed(checks, "ClientKeepsValidTool")
    assert len(checks.having("SUCCESS")) == 12


async def test_references_of_schemas_are_not_followed(scenarios: Scenarios) -> None:
    reason, checks = await scenarios.refused("json-schema-ref-no-deref")
    assert "tool 'lookup_user' of MCP server 'suite' has a schema that cannot be used" in reason
    assert all_passed(checks, "NoNetworkRefDereference")


async def test_schemas_are_kept_as_they_are(scenarios: Scenarios) -> None:
    async def drive(url: str, context: dict[str, Any]) -> None:
        installation = scenarios.installation
        async with installation.ai_worker(McpServerResource(name="suite", url=url)):
            applied = await installation.apply("suite")
            [schema] = await installation.schemas(applied, "json_schema_2020_12_tool")
            calls: list[Call] = [("json_schema_echo", {"schema": json.loads(schema)})]
            assert (await installation.run("suite", calls)).outcomes == ["OK"]

    name = "json-schema-2020-12-preservation"
    checks = await run_scenario(scenarios.programs, name, NEW, drive, scenarios.directory)
    assert all_passed(checks, "JsonSchema2020_12ClientEchoCompleted")


async def test_a_stream_that_ends_is_resumed(scenarios: Scenarios) -> None:
    run, checks = await scenarios.run("sse-retry", OLD, ("test_reconnection", {}))
    assert run.outcomes == ["OK"]
    assert all_passed(checks)


async def test_a_client_gets_tokens_by_its_credentials(scenarios: Scenarios) -> None:
    runs: list[Run] = []

    async def drive(url: str, context: dict[str, Any]) -> None:
        oauth = OAuthClient(
            # The operator knows the issuer: a server does not decide who gets the secret.
            issuer=await asyncio.to_thread(_issuer_of, url),
            client_id=context["client_id"],
            client_secret=SecretStr(context["client_secret"]),
            resource=url,
        )
        resource = McpServerResource(name="suite", url=url, oauth=oauth)
        async with scenarios.installation.ai_worker(resource):
            runs.append(await scenarios.installation.run("suite", [("test-tool", {})]))

    name = "auth/client-credentials-basic"
    checks = await run_scenario(scenarios.programs, name, NEW, drive, scenarios.directory)
    assert runs[0].outcomes == ["OK"]
    assert all_passed(checks, "ClientCredentialsBasicAuth")


def _issuer_of(url: str) -> str:
    base, _, path = url.rpartition("/")
    with urllib.request.urlopen(f"{base}/.well-known/oauth-protected-resource/{path}") as answer:
        return str(json.load(answer)["authorization_servers"][0])
