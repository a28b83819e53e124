"""The server as a whole: who gets in, how much fits, what it says of itself, and the registry."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc
from temporalio.client import Client

from services.stigma_api.tests.api_server import (
    SCRIPTED,
    Api,
    refused,
    requests_to_temporal,
    running_api,
)
from services.stigma_api.tests.waiting_callers import Callers
from stigma.agent.v1.agent_execution_pb2 import TemporalCaller
from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    GetAgentExecutionRequest,
    ListAgentExecutionsRequest,
    StartAgentRequest,
    WatchAgentExecutionRequest,
)
from stigma.agent.v1.agent_pb2 import Agent, AgentSpec
from stigma.agent.v1.agent_service_pb2 import (
    ApplyAgentRequest,
    DeleteAgentRequest,
    GetAgentRequest,
    ListAgentsRequest,
)
from stigma.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from stigma.runtime import ServiceError
from stigma_api.access.principals import Action, Principal, Principals
from stigma_api.server import load_principals
from stigma_api.settings import ApiSettings
from stigma_api.temporal.namespace import Namespace
from stigma_cli.devserver import DevServer
from tests.stack.waiting import eventually

Code = grpc.StatusCode


def key(name: str) -> dict[str, Any]:
    return {"metadata": [("authorization", f"Bearer {name}-key")]}


def known(name: str, **permissions: Any) -> Principal:
    digest = hashlib.sha256(f"{name}-key".encode()).hexdigest()
    return Principal(name=name, key_sha256=[digest], **permissions)


@pytest.fixture(scope="module")
async def guarded(
    temporal_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    principals = Principals(
        [
            known("root", actions=frozenset({Action.ADMIN})),
            known("caller", workflow_id_prefixes=["order-"], agents=["reviewer"]),
            known("owner", agents=["mine-*"]),
            known("keeper", agents=["large-*"]),
            known("early", callbacks_enabled=False),
            known("neighbour", callback_namespaces=["temporal-system"]),
            known("nobody", actions=frozenset()),
        ]
    )
    directory = tmp_path_factory.mktemp("guarded")
    async with running_api(temporal_server.address, directory, principals=principals) as api:
        for name in ("reviewer", "payroll"):
            agent = Agent(name=name, spec=SCRIPTED)
            await api.agents.ApplyAgent(ApplyAgentRequest(agent=agent), **key("root"))
        yield api


async def test_agents_over_grpc(api: Api) -> None:
    name = f"a-{uuid.uuid4().hex[:8]}"
    agent = Agent(name=name, spec=SCRIPTED, labels={"a": "b"})
    checked = await api.agents.ApplyAgent(ApplyAgentRequest(agent=agent, validate_only=True))
    async with refused(Code.NOT_FOUND) as refusal:
        await api.agents.GetAgent(GetAgentRequest(id=name))
    assert refusal.message == f"agent {name} not found"
    applied = await api.agents.ApplyAgent(ApplyAgentRequest(agent=agent))
    assert applied.digest == checked.digest
    assert await api.agents.GetAgent(GetAgentRequest(id=name)) == applied
    assert await api.agents.GetAgent(GetAgentRequest(id=f"{name}@1")) == applied

    names: list[str] = []
    request = ListAgentsRequest(page_size=1)
    while True:
        page = await api.agents.ListAgents(request)
        names += [agent.name for agent in page.agents]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert name in names
    assert names == sorted(set(names))

    async with refused(Code.INVALID_ARGUMENT) as refusal:
        await api.agents.DeleteAgent(DeleteAgentRequest(name=f"{name}@1"))
    assert refusal.fields == ["name"]
    await api.agents.DeleteAgent(DeleteAgentRequest(name=name))
    async with refused(Code.NOT_FOUND):
        await api.agents.DeleteAgent(DeleteAgentRequest(name=name))
    async with refused(Code.INVALID_ARGUMENT) as refusal:
        await api.agents.ApplyAgent(ApplyAgentRequest(agent=Agent(name="Bad", spec=AgentSpec())))
    assert refusal.fields == ["agent.name", "agent.spec.model"]


async def test_without_a_known_key_nothing_is_answered(guarded: Api) -> None:
    for credentials in ({}, key("stranger"), {"metadata": [("authorization", "Basic x")]}):
        async with refused(Code.UNAUTHENTICATED):
            await guarded.agents.ListAgents(ListAgentsRequest(), **credentials)
        async with refused(Code.UNAUTHENTICATED):
            watch = WatchAgentExecutionRequest(id="agent-1")
            await guarded.executions.WatchAgentExecution(watch, **credentials).read()


async def test_health_needs_no_key(guarded: Api) -> None:
    stub = health_pb2_grpc.HealthStub(guarded.channel)
    service = "stigma.agent.v1.AgentExecutionService"
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    assert answer.status in {
        health_pb2.HealthCheckResponse.SERVING,
        health_pb2.HealthCheckResponse.NOT_SERVING,
    }


async def test_every_method_asks_for_its_permission(guarded: Api) -> None:
    executions, agents = guarded.executions, guarded.agents
    inline = StartAgentRequest(spec=SCRIPTED)
    calls = [
        (agents.ApplyAgent, ApplyAgentRequest(), "agents.apply"),
        (agents.GetAgent, GetAgentRequest(), "agents.read"),
        (agents.ListAgents, ListAgentsRequest(), "agents.read"),
        (agents.DeleteAgent, DeleteAgentRequest(), "agents.delete"),
        (executions.StartAgent, StartAgentRequest(), "executions.start"),
        (executions.GetAgentExecution, GetAgentExecutionRequest(), "executions.read"),
        (executions.ListAgentExecutions, ListAgentExecutionsRequest(), "executions.read"),
        (executions.CancelAgentExecution, CancelAgentExecutionRequest(), "executions.cancel"),
    ]
    for method, request, permission in calls:
        async with refused(Code.PERMISSION_DENIED) as refusal:
            await method(request, **key("nobody"))
        assert permission in refusal.message
    async with refused(Code.PERMISSION_DENIED):
        watch = WatchAgentExecutionRequest()
        await executions.WatchAgentExecution(watch, **key("nobody")).read()
    async with refused(Code.PERMISSION_DENIED) as refusal:
        await executions.StartAgent(inline, **key("caller"))
    assert "agents.inline" in refusal.message


async def test_agents_out_of_reach_are_neither_used_nor_shown(guarded: Api) -> None:
    async with refused(Code.PERMISSION_DENIED):
        request = StartAgentRequest(agent_id="payroll@1")
        await guarded.executions.StartAgent(request, **key("caller"))
    async with refused(Code.PERMISSION_DENIED):
        await guarded.agents.GetAgent(GetAgentRequest(id="payroll"), **key("caller"))
    shown = await guarded.agents.ListAgents(ListAgentsRequest(), **key("caller"))
    assert [agent.name for agent in shown.agents] == ["reviewer"]


async def test_who_may_not_use_the_agent_learns_nothing_about_a_token(
    guarded: Api, callers: Callers
) -> None:
    waiting, resolved = await callers.start("order"), await callers.start("order")
    await resolved.handle.terminate()
    before = await requests_to_temporal(guarded)
    answers = set()
    for token in (waiting.token, resolved.token, b"no token"):
        async with refused(Code.PERMISSION_DENIED) as refusal:
            request = StartAgentRequest(agent_id="payroll", callback_token=token)
            await guarded.executions.StartAgent(request, **key("caller"))
        answers.add(refusal.message)
    assert answers == {"principal caller may not use agent payroll"}
    asked = await requests_to_temporal(guarded) - before
    assert "RecordActivityTaskHeartbeat" not in asked


async def test_a_page_of_agents_tells_nothing_of_those_out_of_reach(guarded: Api) -> None:
    mine = [f"mine-{number}" for number in range(3)]
    for name in [*mine, "aaa", "mine0secret", "zzz"]:
        agent = Agent(name=name, spec=SCRIPTED)
        await guarded.agents.ApplyAgent(ApplyAgentRequest(agent=agent), **key("root"))
    request = ListAgentsRequest(page_size=1)
    shown, page_tokens = [], []
    while True:
        page = await guarded.agents.ListAgents(request, **key("owner"))
        # No page is empty for what is left out of it: that too would tell.
        assert len(page.agents) == 1
        shown += [agent.name for agent in page.agents]
        if not page.next_page_token:
            break
        page_tokens.append(page.next_page_token)
        request.page_token = page.next_page_token
    assert shown == mine
    assert all(token in mine for token in page_tokens)
    for odd in ("No Name", "a\x00", "x" * 100):
        async with refused(Code.INVALID_ARGUMENT) as refusal:
            await guarded.agents.ListAgents(ListAgentsRequest(page_token=odd), **key("owner"))
        assert refusal.fields == ["page_token"]


async def test_a_page_of_agents_is_filled_over_many_out_of_reach(
    guarded: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stigma_api.definitions.service._NAMES_AT_A_TIME", 2)
    for name in [*(f"few-{number}" for number in range(5)), "reviewer"]:
        agent = Agent(name=name, spec=SCRIPTED)
        await guarded.agents.ApplyAgent(ApplyAgentRequest(agent=agent), **key("root"))
    page = await guarded.agents.ListAgents(ListAgentsRequest(page_size=1), **key("caller"))
    assert [agent.name for agent in page.agents] == ["reviewer"]
    assert page.next_page_token == ""


async def test_a_page_of_agents_fits_into_one_message(guarded: Api) -> None:
    spec = AgentSpec(model="scripted:demo", instructions="x" * 200_000)
    names = [f"large-{number:02}" for number in range(42)]
    for name in names:
        agent = Agent(name=name, spec=spec)
        await guarded.agents.ApplyAgent(ApplyAgentRequest(agent=agent), **key("root"))
    shown = []
    request = ListAgentsRequest(page_size=1000)
    while True:
        page = await guarded.agents.ListAgents(request, **key("keeper"))
        assert page.ByteSize() < 4 * 1024 * 1024
        shown += [agent.name for agent in page.agents]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert shown == names


async def test_a_token_of_a_workflow_out_of_reach_is_refused(
    guarded: Api, callers: Callers
) -> None:
    within, outside = await callers.start("order"), await callers.start("salary")
    request = within.request(agent_id="reviewer")
    assert (await guarded.executions.StartAgent(request, **key("caller"))).id
    async with refused(Code.PERMISSION_DENIED) as refusal:
        request = outside.request(agent_id="reviewer")
        await guarded.executions.StartAgent(request, **key("caller"))
    assert outside.handle.id in refusal.message
    value = guarded.runtime.metrics.get_sample_value
    assert value("external_activity_errors_total", {"error_type": "permission_denied"}) == 1


async def test_a_callers_namespace_must_be_allowed(guarded: Api, callers: Callers) -> None:
    caller = await callers.start()
    request = caller.request(agent_id="reviewer")
    request.caller.namespace = "temporal-system"
    async with refused(Code.PERMISSION_DENIED):
        await guarded.executions.StartAgent(request, **key("early"))
    # Allowed, but the token is not of that namespace.
    async with refused(Code.INVALID_ARGUMENT) as refusal:
        await guarded.executions.StartAgent(request, **key("neighbour"))
    assert refusal.fields == ["callback_token"]
    untied = StartAgentRequest(
        agent_id="reviewer", request_id="r", caller=TemporalCaller(namespace="temporal-system")
    )
    there = await guarded.executions.StartAgent(untied, **key("neighbour"))
    untied.ClearField("caller")
    here = await guarded.executions.StartAgent(untied, **key("neighbour"))
    assert there.id != here.id
    cancel = CancelAgentExecutionRequest(request_id="r", namespace="temporal-system")
    cancelled = await guarded.executions.CancelAgentExecution(cancel, **key("neighbour"))
    assert cancelled.id == there.id


async def test_callbacks_can_be_off_for_one_principal_or_all(
    guarded: Api, callers: Callers, temporal_server: Any, tmp_path: Path
) -> None:
    caller = await callers.start()
    request = caller.request(agent_id="reviewer")
    async with refused(Code.FAILED_PRECONDITION) as refusal:
        await guarded.executions.StartAgent(request, **key("early"))
    assert refusal.reason == "CALLBACKS_DISABLED"
    without = StartAgentRequest(agent_id="reviewer")
    assert (await guarded.executions.StartAgent(without, **key("early"))).id
    async with running_api(temporal_server.address, tmp_path, callbacks_enabled=False) as api:
        await api.apply("reviewer")
        async with refused(Code.FAILED_PRECONDITION) as refusal:
            await api.executions.StartAgent(request)
        assert refusal.reason == "CALLBACKS_DISABLED"


@dataclass(frozen=True)
class Certificates:
    """A CA, and what it signed."""

    directory: Path
    authority: x509.Certificate
    authority_key: ec.EllipticCurvePrivateKey

    def issue(self, name: str, alternative: str) -> tuple[bytes, bytes]:
        own = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _certificate(name, own.public_key(), self.authority.subject)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(alternative)]), False)
            .sign(self.authority_key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM), _pem(own)

    def written(self, name: str, content: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(content)
        return path

    @property
    def authority_pem(self) -> bytes:
        return self.authority.public_bytes(serialization.Encoding.PEM)


def _certificate(
    name: str, public_key: ec.EllipticCurvePublicKey, issuer: x509.Name | None = None
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
    )


def _pem(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    own = ec.generate_private_key(ec.SECP256R1())
    authority = (
        _certificate("test ca", own.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(own, hashes.SHA256())
    )
    return Certificates(tmp_path, authority, own)


async def test_a_client_certificate_tells_who_calls(
    certificates: Certificates, temporal_server: Any, tmp_path: Path
) -> None:
    server_certificate, server_key = certificates.issue("server", "localhost")
    tls = {
        "api_tls_cert": certificates.written("server.pem", server_certificate),
        "api_tls_key": certificates.written("server.key", server_key),
        "api_tls_client_ca": certificates.written("ca.pem", certificates.authority_pem),
    }
    principals = Principals([Principal(name="billing", certificates=["billing.example.org"])])

    def shows(name: str) -> grpc.ChannelCredentials:
        certificate, private = certificates.issue(name, f"{name}.example.org")
        return grpc.ssl_channel_credentials(certificates.authority_pem, private, certificate)

    async with running_api(
        temporal_server.address,
        tmp_path,
        principals=principals,
        credentials=shows("billing"),
        **tls,
    ) as api:
        await api.agents.ListAgents(ListAgentsRequest())
        async with refused(Code.PERMISSION_DENIED) as refusal:
            await api.agents.DeleteAgent(DeleteAgentRequest(name="a"))
        assert "principal billing" in refusal.message
        stranger = grpc.aio.secure_channel(f"localhost:{api.port}", shows("stranger"))
        bare = grpc.aio.secure_channel(
            f"localhost:{api.port}", grpc.ssl_channel_credentials(certificates.authority_pem)
        )
        async with stranger, bare:
            async with refused(Code.UNAUTHENTICATED):
                await AgentServiceStub(stranger).ListAgents(ListAgentsRequest())
            async with refused(Code.UNAVAILABLE):
                await AgentServiceStub(bare).ListAgents(ListAgentsRequest())


async def test_more_calls_than_fit_are_told_when_to_come_back(
    temporal_server: Any, client: Client, tmp_path: Path
) -> None:
    async with running_api(
        temporal_server.address, tmp_path, api_max_in_flight=1, api_max_watches=1
    ) as api:
        await api.apply("reviewer")
        request = StartAgentRequest(agent_id="reviewer")
        answers = await asyncio.gather(
            *(api.executions.StartAgent(request) for _ in range(20)), return_exceptions=True
        )
        refusals = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        started = [answer for answer in answers if not isinstance(answer, BaseException)]
        assert {error.code() for error in refusals} == {Code.RESOURCE_EXHAUSTED}
        assert started

        watch = WatchAgentExecutionRequest(id=started[0].id)
        stream = api.executions.WatchAgentExecution(watch)
        await stream.read()
        async with refused(Code.RESOURCE_EXHAUSTED) as refusal:
            await api.executions.WatchAgentExecution(watch).read()
        assert refusal.retry_after == timedelta(seconds=1)
        stream.cancel()
        for execution in started:
            await client.get_workflow_handle(execution.id).terminate()


async def test_calls_and_streams_have_a_longest_time(temporal_server: Any, tmp_path: Path) -> None:
    async with running_api(
        temporal_server.address, tmp_path, api_watch_timeout=timedelta(milliseconds=300)
    ) as api:
        await api.apply("reviewer")
        started = await api.executions.StartAgent(StartAgentRequest(agent_id="reviewer"))

        async def has_its_event_and_ends() -> bool:
            stream = api.executions.WatchAgentExecution(WatchAgentExecutionRequest(id=started.id))
            first = None
            async with refused(Code.UNAVAILABLE) as refusal:
                first = await stream.read()
                await stream.read()
            assert "resume with the last cursor" in refusal.message
            return first is not None and first.HasField("started")

        await eventually(has_its_event_and_ends, what="an event in time")
    async with running_api(
        temporal_server.address, tmp_path, api_call_timeout=timedelta(microseconds=1)
    ) as api:
        async with refused(Code.DEADLINE_EXCEEDED) as refusal:
            await api.agents.ListAgents(ListAgentsRequest())
        assert "no answer within" in refusal.message


async def test_temporal_out_of_reach_is_unavailable_soon(
    temporal_binary: Path, tmp_path: Path
) -> None:
    async with DevServer(temporal_binary) as server, running_api(server.address, tmp_path) as api:
        await api.apply("reviewer")
        await server.kill()
        begin = asyncio.get_running_loop().time()
        calls = (
            api.executions.StartAgent(StartAgentRequest(agent_id="reviewer")),
            api.executions.GetAgentExecution(GetAgentExecutionRequest(id="agent-1")),
            api.executions.ListAgentExecutions(ListAgentExecutionsRequest()),
        )
        answers = await asyncio.gather(*calls, return_exceptions=True)
        for answer in answers:
            assert isinstance(answer, grpc.aio.AioRpcError)
            assert answer.code() == Code.UNAVAILABLE
            assert "Temporal does not answer" in (answer.details() or "")
        assert asyncio.get_running_loop().time() - begin < 15  # the timeout of a call
        # The registry does not need Temporal.
        await api.agents.ListAgents(ListAgentsRequest())


async def test_missing_search_attributes_say_what_to_do(client: Client) -> None:
    await Namespace(client).check()
    bare = Client(client.service_client, namespace="temporal-system")
    with pytest.raises(ServiceError, match="run `stigma setup`"):
        await Namespace(bare).check()


async def test_rpcs_are_counted_by_method_and_code(api: Api) -> None:
    await api.agents.ListAgents(ListAgentsRequest())
    labels = {"method": "/stigma.agent.v1.AgentService/ListAgents", "code": "OK"}
    assert api.runtime.metrics.get_sample_value("stigma_rpc_requests_total", labels)


def settings(**given: Any) -> ApiSettings:
    return ApiSettings(**given)


def test_without_authentication_only_loopback_is_served(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.1.2.3"):
        assert settings(api_host=host).api_host == host
    for host in ("0.0.0.0", "::", "10.0.0.1", "api.example.org"):
        with pytest.raises(ValueError, match="STIGMA_PRINCIPALS_FILE"):
            settings(api_host=host)
        assert settings(api_host=host, principals_file=tmp_path / "p.yaml").authenticates


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "mysql://host/agents",
        "sqlite:///agents.db",
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///",
        "postgresql+asyncpg://host:port/agents",
        "postgresql+asyncpg://host",
    ],
)
def test_a_registry_is_a_file_or_postgresql(url: str) -> None:
    with pytest.raises(ValueError, match="must be sqlite"):
        settings(registry_url=url)


def test_tls_settings_belong_together(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="belong together"):
        settings(api_tls_cert=tmp_path)
    with pytest.raises(ValueError, match="needs STIGMA_API_TLS_CERT"):
        settings(api_tls_client_ca=tmp_path)


def test_principals_follow_the_settings(tmp_path: Path) -> None:
    assert load_principals(settings()) is None
    tls = {"api_tls_cert": tmp_path, "api_tls_key": tmp_path, "api_tls_client_ca": tmp_path}
    by_certificate = load_principals(settings(**tls))
    assert by_certificate is not None
    assert by_certificate.by_certificate(["anyone"]) is not None
    path = tmp_path / "principals.yaml"
    path.write_text("principals: [{name: a}]")
    listed = load_principals(settings(principals_file=path, **tls))
    assert listed is not None
    assert listed.by_certificate(["anyone"]) is None


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("STIGMA_API_HOST", "0.0.0.0", "STIGMA_PRINCIPALS_FILE"),
        ("STIGMA_PRINCIPALS_FILE", "/none/principals.yaml", "STIGMA_PRINCIPALS_FILE: '/none/"),
        (
            "STIGMA_REGISTRY_URL",
            "sqlite+aiosqlite:////none/r.db",
            "URL: there is no folder '/none'",
        ),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_2(variable: str, value: str, says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stigma_api"],
        env={"PATH": "/usr/bin", variable: value},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr
