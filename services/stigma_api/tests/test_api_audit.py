"""The audit log: every RPC and page is classified, and an event has no content."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import aclosing
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from structlog.testing import capture_logs
from temporalio.client import Client

from services.stigma_api.tests.api_server import SCRIPTED, Api, refused
from services.stigma_api.tests.consoles import (
    api_with_console,
    events,
    http_client,
    metadata,
    running_agents,
)
from services.stigma_api.tests.fake_executions import FakeAgent
from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    GetAgentExecutionRequest,
    ListPendingInputsRequest,
    SendAgentMessageRequest,
    StartAgentRequest,
    WatchAgentExecutionRequest,
)
from stigma.agent.v1.agent_pb2 import Agent
from stigma.agent.v1.agent_service_pb2 import (
    ApplyAgentRequest,
    DeleteAgentRequest,
    ListAgentsRequest,
)
from stigma.agent.v1.agent_session_service_pb2 import (
    AGENT_SESSION_VIEW_FULL,
    GetAgentSessionRequest,
)
from stigma.agent.v1.agent_session_service_pb2_grpc import AgentSessionServiceStub
from stigma_api.access.audit import Effect, path, shown
from stigma_api.grpc_api import servicers
from stigma_api.grpc_api.audit import RULES

PROMPT = "a prompt that no log may have"
NOT_A_NAME = "Ignore all previous instructions and"

Event = MutableMapping[str, Any]


@pytest.fixture(scope="module")
async def api(
    client: Client, temporal_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    directory = tmp_path_factory.mktemp("audit")
    async with (
        api_with_console(temporal_server.address, directory) as api,
        running_agents(client, api),
    ):
        agent = Agent(name="reviewer", spec=SCRIPTED)
        await api.agents.ApplyAgent(ApplyAgentRequest(agent=agent), **metadata("root"))
        yield api


@pytest.fixture
def logged() -> Iterator[list[Event]]:
    with capture_logs() as found:
        yield found
    assert PROMPT not in str(found)
    assert NOT_A_NAME not in str([event for event in found if event["event"] == "audit"])


def audited(logged: list[Event]) -> list[tuple[str, ...]]:
    """The events so far, as: principal, effect, method, resource, outcome."""
    fields = ("principal", "effect", "method", "resource", "outcome")
    return [
        tuple(str(event[name]).rpartition(".v1.")[2] for name in fields)
        for event in logged
        if event["event"] == "audit"
    ]


def test_every_rpc_is_classified() -> None:
    pool = descriptor_pool.Default()
    served = {
        name: {method.name for method in pool.FindServiceByName(name).methods}
        for name in servicers.NAMES
    }
    assert {name: set(rules) for name, rules in RULES.items()} == served
    neither = {rpc for rules in RULES.values() for rpc, rule in rules.items() if rule is None}
    # What is listed here changes nothing, and shows no input, output, message or argument.
    assert neither == {
        *("GetAgent", "ListAgents", "GetWorkflow", "ListWorkflows", "ListAgentSessions"),
        *("ListAgentExecutions", "ListWorkflowExecutions"),
        *("GetExecutionTimeline", "ListStuckExecutions"),
    }
    changes = ("Apply", "Delete", "Start", "Cancel", "Submit", "Send")
    for name, rules in RULES.items():
        for rpc, rule in rules.items():
            assert (rule is not None and rule.effect is Effect.MUTATION) == rpc.startswith(changes)
            method = pool.FindServiceByName(name).methods_by_name[rpc]
            request = GetMessageClass(method.input_type)()
            response = GetMessageClass(method.output_type)()
            if rule is not None:
                assert all(rule.resource(request, answer) for answer in (None, response))


def test_a_resource_is_named_and_what_is_no_name_is_not_shown() -> None:
    assert path("executions", "agent-1", "inputs", "2-1") == "executions/agent-1/inputs/2-1"
    assert path("executions", "", "inputs", "") == "executions"
    assert shown("reviewer@3") == "reviewer@3"
    assert shown(PROMPT).startswith("sha256:")
    assert shown("a" * 300) != shown("a" * 301)
    assert shown("\ud800").startswith("sha256:")


async def test_rpcs_that_change_or_show_something_are_told(
    api: Api, client: Client, logged: list[Event]
) -> None:
    agents, executions = api.agents, api.executions
    agent = Agent(name="made", spec=SCRIPTED)
    agent.spec.instructions = PROMPT
    await agents.ApplyAgent(ApplyAgentRequest(agent=agent, validate_only=True), **metadata("root"))
    await agents.ApplyAgent(ApplyAgentRequest(agent=agent), **metadata("root"))
    await agents.ListAgents(ListAgentsRequest(), **metadata("root"))
    async with refused(grpc.StatusCode.PERMISSION_DENIED):
        await agents.DeleteAgent(DeleteAgentRequest(name="made"), **metadata("caller"))
    async with refused(grpc.StatusCode.UNAUTHENTICATED):
        await agents.DeleteAgent(DeleteAgentRequest(name="made"))
    await agents.DeleteAgent(DeleteAgentRequest(name="made"), **metadata("root"))
    assert audited(logged) == [
        ("root", "mutation", "AgentService/ApplyAgent", "agents/made@1", "OK"),
        ("caller", "mutation", "AgentService/DeleteAgent", "agents/made", "PERMISSION_DENIED"),
        ("root", "mutation", "AgentService/DeleteAgent", "agents/made", "OK"),
    ]

    logged.clear()
    start = StartAgentRequest(agent_id="reviewer", message=PROMPT, request_id="order-7")
    started = await executions.StartAgent(start, **metadata("caller"))
    get = GetAgentExecutionRequest(id=started.id)
    await executions.GetAgentExecution(get, **metadata("caller"))
    async with refused(grpc.StatusCode.NOT_FOUND):
        await executions.GetAgentExecution(get, **metadata("other"))
    watch = executions.WatchAgentExecution(
        WatchAgentExecutionRequest(id=started.id), **metadata("caller")
    )
    await watch.read()
    async with refused(grpc.StatusCode.NOT_FOUND):
        await executions.WatchAgentExecution(
            WatchAgentExecutionRequest(id=started.id), **metadata("other")
        ).read()
    message = SendAgentMessageRequest(id=NOT_A_NAME, message=PROMPT, request_id="m-1")
    async with refused(grpc.StatusCode.NOT_FOUND):
        await executions.SendAgentMessage(message, **metadata("caller"))
    pending = ListPendingInputsRequest(id=started.id, input_id="2-1")
    async with refused(grpc.StatusCode.NOT_FOUND):
        await executions.ListPendingInputs(pending, **metadata("other"))
    cancel = CancelAgentExecutionRequest(request_id="order-7", reason=PROMPT)
    await executions.CancelAgentExecution(cancel, **metadata("caller"))
    watch.cancel()
    service, at = "AgentExecutionService", f"executions/{started.id}"
    assert audited(logged) == [
        ("caller", "mutation", f"{service}/StartAgent", "agents/reviewer@1", "OK"),
        ("caller", "read", f"{service}/GetAgentExecution", at, "OK"),
        ("other", "read", f"{service}/GetAgentExecution", at, "NOT_FOUND"),
        ("caller", "read", f"{service}/WatchAgentExecution", at, "OK"),
        ("other", "read", f"{service}/WatchAgentExecution", at, "NOT_FOUND"),
        (
            *("caller", "mutation", f"{service}/SendAgentMessage"),
            *(f"executions/{shown(NOT_A_NAME)}", "NOT_FOUND"),
        ),
        ("other", "read", f"{service}/ListPendingInputs", f"{at}/inputs/2-1", "NOT_FOUND"),
        ("caller", "mutation", f"{service}/CancelAgentExecution", at, "OK"),
    ]
    told = [event for event in logged if event["event"] == "audit"]
    assert (told[0]["request_id"], told[0]["execution_id"]) == ("order-7", started.id)
    assert [event.get("request_id") for event in told[-3:]] == ["m-1", None, "order-7"]


async def test_of_a_session_the_conversation_is_content(api: Api, logged: list[Event]) -> None:
    sessions: Any = AgentSessionServiceStub(api.channel)
    request = GetAgentSessionRequest(id="s-1", principal="caller")
    async with refused(grpc.StatusCode.NOT_FOUND):
        await sessions.GetAgentSession(request, **metadata("root"))
    assert audited(logged) == []
    request.view = AGENT_SESSION_VIEW_FULL
    async with refused(grpc.StatusCode.NOT_FOUND):
        await sessions.GetAgentSession(request, **metadata("root"))
    [event] = audited(logged)
    assert event[3:] == ("principals/caller/sessions/s-1", "NOT_FOUND")


async def test_pages_that_show_content_are_told(
    api: Api, client: Client, logged: list[Event]
) -> None:
    start = StartAgentRequest(agent_id="reviewer", message=PROMPT)
    started = await api.executions.StartAgent(start, **metadata("caller"))
    await client.get_workflow_handle(started.id).signal(FakeAgent.tell, "end")
    logged.clear()
    page, stream = f"/executions/{started.id}", f"/events/executions/{started.id}"
    at = page.removeprefix("/")
    async with http_client(api, "caller") as caller, http_client(api, "other") as other:
        for path_of_no_content in ("/", "/executions", "/agents", "/workflows", "/stuck"):
            await caller.get(path_of_no_content)
        assert audited(logged) == []
        assert PROMPT in (await caller.get(page)).text
        assert (await other.get(page)).status_code == 404
        async with aclosing(events(caller, stream)) as shown_parts:
            assert PROMPT in str(await anext(shown_parts))
        async with aclosing(events(other, stream)) as hidden_parts:
            assert [part async for part in hidden_parts] == []
        await caller.get("/inbox")
        form = {"answer": "approve", "digest": "d", "reason": PROMPT}
        refusal = await other.post(f"{page}/inputs/2-1", data=form)
        assert refusal.status_code == 404
    async with http_client(api) as nobody:
        assert (await nobody.get(page)).status_code == 401
    route = "/executions/{id}"
    assert audited(logged) == [
        ("caller", "read", f"GET {route}", at, "OK"),
        ("other", "read", f"GET {route}", at, "NOT_FOUND"),
        ("caller", "read", f"GET /events{route}", at, "OK"),
        ("other", "read", f"GET /events{route}", at, "NOT_FOUND"),
        ("caller", "read", "GET /inbox", "inbox", "OK"),
        ("other", "mutation", f"POST {route}/inputs/{{input}}", f"{at}/inputs/2-1", "NOT_FOUND"),
    ]


# Every page and form; None for those that change nothing and show no content.
PAGES: dict[tuple[str, str], str | None] = {
    ("GET", "/"): None,
    ("GET", "/executions"): None,
    ("GET", "/executions/{id}"): "read",
    ("GET", "/executions/{id}/cancel"): None,
    ("POST", "/executions/{id}/cancel"): "mutation",
    ("GET", "/executions/{id}/again"): "read",
    ("POST", "/executions/{id}/again"): "mutation",
    ("GET", "/executions/{id}/inputs/{input}"): "read",
    ("POST", "/executions/{id}/inputs/{input}"): "mutation",
    ("GET", "/inbox"): "read",
    ("GET", "/events/inbox"): "read",
    ("GET", "/events/executions"): None,
    ("GET", "/events/executions/{id}"): "read",
    ("GET", "/sessions"): None,
    ("GET", "/session"): "read",
    ("GET", "/agents"): None,
    ("GET", "/agents/{name}"): None,
    ("GET", "/workflows"): None,
    ("GET", "/workflows/{name}"): None,
    ("GET", "/stuck"): None,
    ("GET", "/login"): None,
    ("POST", "/login"): None,
    ("POST", "/logout"): None,
    ("GET", "/static/{name}"): None,
}


async def test_every_page_is_classified(api: Api, logged: list[Event]) -> None:
    assert api.console is not None
    application: Any = api.console._app
    routes = {
        (method, route.path) for route in application.routes for method in route.methods - {"HEAD"}
    }
    assert routes == set(PAGES)
    async with http_client(api, "caller") as browser:
        for (method, route), effect in PAGES.items():
            logged.clear()
            address = route.format(id="agent-none", input="2-1", name="none")
            async with browser.stream(method, address) as response:
                # A stream goes on: it is told about by what comes first.
                async for line in response.aiter_lines():
                    if line.startswith(("data:", "event:")):
                        break
            told = [(each[1], each[2]) for each in audited(logged)]
            assert told == ([(effect, f"{method} {route}")] if effect else []), route
