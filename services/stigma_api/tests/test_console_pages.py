"""What the console's pages show, and what they never show."""

from __future__ import annotations

import asyncio
import html
import re
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from services.stigma_api.tests.api_server import SCRIPTED, Api, requests_to_temporal
from services.stigma_api.tests.consoles import (
    api_with_console,
    bearer,
    events,
    http_client,
    metadata,
    running_agents,
)
from services.stigma_api.tests.fake_executions import FakeAgent
from services.stigma_api.tests.waiting_callers import Callers
from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import Agent, AgentSpec
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    STUCK_REASON_NO_WORKER,
    ListStuckExecutionsResponse,
)
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma.workflow.v1.workflow_pb2 import WorkflowSpec
from stigma_api import errors
from stigma_api.console import api as console_api
from stigma_api.console import execution_list, execution_refresh
from stigma_api.executions.cursors import Cursor, Position
from stigma_cli.devserver import DevServer
from tests.stack.waiting import eventually

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>"
SECRET_VALUE = "an-env-value-that-nobody-may-see"

Start = Callable[..., Awaitable[AgentExecution]]


@pytest.fixture(scope="module")
async def api(
    client: Client, temporal_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    directory = tmp_path_factory.mktemp("console")
    ui: dict[str, Any] = {"console_temporal_ui_url": "http://temporal.example:8233/"}
    async with api_with_console(temporal_server.address, directory, **ui) as api:
        spec = AgentSpec()
        spec.CopyFrom(SCRIPTED)
        spec.description = f"Reads {HOSTILE}"
        spec.instructions = f"Be kind. {HOSTILE}"
        for name in ("reviewer", "writer"):
            agent = Agent(name=name, spec=spec, labels={"team": "core"})
            await api.agents.ApplyAgent(ApplyAgentRequest(agent=agent), **metadata("root"))
        async with running_agents(client, api):
            yield api


@pytest.fixture
def start(api: Api, client: Client) -> Start:
    """Start an execution as `caller`; with `tell`, have it do that and end."""

    async def start(tell: str = "", **fields: Any) -> AgentExecution:
        given = {"agent_id": "reviewer", "message": "m"} | fields
        request = StartAgentRequest(**given)
        started: AgentExecution = await api.executions.StartAgent(request, **metadata("caller"))
        if tell:
            handle = client.get_workflow_handle(started.id)
            await handle.signal(FakeAgent.tell, tell)
            await eventually(lambda: _closed(client, started.id), what=f"the end of {started.id}")
        return started

    return start


async def _closed(client: Client, workflow_id: str) -> bool:
    described = await client.get_workflow_handle(workflow_id).describe()
    return described.close_time is not None


async def get(api: Api, path: str, who: str = "caller", code: int = 200, **query: Any) -> str:
    async with http_client(api, who) as browser:
        answer = await browser.get(path, params=query)
    assert answer.status_code == code, answer.text
    return answer.text


async def listed(api: Api, *ids: str, **query: Any) -> str:
    """Return the list once it shows these executions: visibility is late."""

    async def shown() -> str | None:
        page = await get(api, "/executions", **query)
        return page if all(each in page for each in ids) else None

    return await eventually(shown, what="the list")


async def test_the_list_is_filtered_as_the_api_filters(api: Api, start: Start):
    session = f"s-{uuid.uuid4().hex}"
    failed = await start("fail", session_id=session)
    fine = await start("fine", session_id=session, agent_id="writer", labels={"team": "core"})
    page = await listed(api, failed.id, fine.id, session=session)
    assert "no execution is like that" not in page.lower()
    cases: tuple[tuple[dict[str, Any], set[str]], ...] = (
        ({"phase": "FAILED"}, {failed.id}),
        ({"phase": "COMPLETED"}, {fine.id}),
        ({"name": "writer"}, {fine.id}),
        ({"kind": "agent"}, {fine.id, failed.id}),
        ({"kind": "workflow"}, set()),
        ({"filter_text": 'labels.team = "core"'}, {fine.id}),
        ({"filter_text": 'agent = "reviewer"'}, {failed.id}),  # which no workflow's filter knows
    )
    for query, expected in cases:
        # An end comes later to the list than an execution.
        async def shows(query: dict[str, Any] = query, ids: set[str] = expected) -> bool:
            page = await get(api, "/executions", session=session, **query)
            return set(re.findall(r'data-key="([^"]+)"', page)) == ids

        await eventually(shows, what=f"{expected} for {query}")
    page = await get(api, "/executions", session=session)
    assert page.index(fine.id) < page.index(failed.id)  # the last closed first


@pytest.mark.parametrize(
    "query",
    [
        {"filter_text": "phase ="},
        {"filter_text": f'agent = "{HOSTILE}"'},
        {"name": 'x" OR "'},
        {"phase": "NEVER"},
        {"page": "agent:AAAA"},
        {"page": "nonsense"},
    ],
)
async def test_what_cannot_be_asked_is_said_on_the_page(api: Api, query: dict[str, str]):
    page = await get(api, "/executions", code=400, **query)
    assert 'class="problem"' in page
    assert "<script>alert" not in page
    assert "data-live" not in page


async def test_the_list_goes_on_on_further_pages(
    api: Api, start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("stigma_api.console.api._PAGE_SIZE", 2)
    session = f"s-{uuid.uuid4().hex}"
    ids = {(await start("fine", session_id=session)).id for _ in range(5)}
    found: list[str] = []

    async def all_of_it() -> bool:
        found.clear()
        path = f"/executions?session={session}"
        while path:
            page = await get_path(api, path)
            found.extend(re.findall(r'data-key="([^"]+)"', page))
            older = re.search(r'href="(/executions\?[^"]+)">Older', page)
            path = older[1].replace("&amp;", "&") if older else ""
        # One that closes while pages are read may be on two of them.
        return sorted(found) == sorted(ids)

    await eventually(all_of_it, what="five executions on three pages")


async def get_path(api: Api, path: str) -> str:
    async with http_client(api, "caller") as browser:
        answer = await browser.get(path)
    assert answer.status_code == 200
    return answer.text


async def test_nothing_is_there_for_who_started_nothing(api: Api):
    assert "Nothing has run yet" in await get(api, "/executions", "other")
    assert "No execution is like that" in await get(api, "/executions", "other", session="s-0")


async def test_content_is_never_taken_for_markup(api: Api, start: Start, client: Client):
    execution = await start(HOSTILE, message=HOSTILE, session_id="s", labels={"a": "<b>"})
    for path in (f"/executions/{execution.id}", "/executions", "/agents"):
        page = await get(api, path)
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "<b>" not in page
    page = await get(api, f"/executions/{execution.id}")
    assert "&lt;script&gt;alert(&#39;x&#39;)" in page


async def test_values_of_env_variables_and_tokens_stay_out(
    api: Api, start: Start, callers: Callers
):
    caller = await callers.start()
    request = caller.request(agent_id="reviewer", message="m", env={"CITY": SECRET_VALUE})
    started = await api.executions.StartAgent(request, **metadata("caller"))
    page = await get(api, f"/executions/{started.id}")
    assert "<code>CITY</code>" in page
    assert SECRET_VALUE not in page
    for encoded in (caller.token.hex(), caller.token[:20].hex()):
        assert encoded not in page
    assert started.status.callback.fingerprint in page
    async with http_client(api, "caller") as browser:
        async for parts in events(browser, f"/events/executions/{started.id}"):
            assert not any(SECRET_VALUE in part for part in parts.values())
            break


async def test_one_execution_from_its_start_to_its_failure(api: Api, start: Start):
    execution = await start("fail", session_id="s-9", labels={"team": "core"}, request_id="r-9")
    page = await get(api, f"/executions/{execution.id}")
    for text in (
        "reviewer@1",
        "scripted:demo",
        "team=core",
        "r-9",
        "STEP_LIMIT",
        "too many",
        "model_call 2",
        "nobody waits",
        "model call 1",
        f"http://temporal.example:8233/namespaces/default/workflows/{execution.id}",
    ):
        assert text in page, text
    assert "data-live" not in page  # nothing will change any more


async def test_a_workflows_page_shows_what_it_was_given(api: Api, client: Client):
    request = StartWorkflowRequest(
        spec=WorkflowSpec(document="hold"), input_json='{"change":"a rename"}'
    )
    started = await api.workflow_executions.StartWorkflow(request, **metadata("root"))
    await client.get_workflow_handle(started.id).terminate(reason="by hand")
    page = await get(api, f"/executions/{started.id}", "root")
    shown = re.search(r'<pre [^>]*aria-label="Input data">([^<]*)</pre>', page)
    assert shown is not None
    assert html.unescape(shown[1]) == '{\n  "change": "a rename"\n}'


async def test_who_waits_is_linked(api: Api, callers: Callers):
    caller = await callers.start()
    started = await api.executions.StartAgent(
        caller.request(agent_id="reviewer", message="m"), **metadata("caller")
    )
    page = await get(api, f"/executions/{started.id}")
    run_id = caller.info.workflow_run_id
    assert f"/workflows/{caller.handle.id}/{run_id}/history" in page
    assert "waiting" in page
    assert f'data-live="/events/executions/{started.id}"' in page
    assert {"taken", "acknowledged", "pending"} <= set(re.findall(r'data-step="(\w+)"', page))


async def test_agents_and_workflows_are_listed(api: Api):
    page = await get(api, "/agents")
    assert page.index("reviewer") < page.index("writer")
    assert "team=core" in page
    assert "Be kind." in page
    assert "No workflow is registered" in await get(api, "/workflows")


async def test_stuck_executions_are_listed(api: Api):
    assert "Nothing is stuck" in await get(api, "/stuck", "other")


async def test_a_stuck_execution_comes_with_its_reason_and_what_helps(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    found = ListStuckExecutionsResponse(examined=2, open=7)
    stuck = found.executions.add(
        execution_id="agent-1",
        reason=STUCK_REASON_NO_WORKER,
        message=f"no worker polls {HOSTILE}",
        command="stigma execution timeline agent-1",
    )
    stuck.start_time.GetCurrentTime()

    async def one(*_: Any) -> ListStuckExecutionsResponse:
        return found

    monkeypatch.setattr("stigma_api.console.api.Api.stuck", one)
    page = await get(api, "/stuck")
    for text in ("2 of 7", "no worker", 'href="/executions/agent-1"', "timeline agent-1"):
        assert text in page
    assert "<script>alert" not in page


async def test_unknown_pages_are_not_there(api: Api):
    for path in ("/nowhere", "/executions/agent-0", "/executions/x", f"/executions/{'x' * 2000}"):
        page = await get(api, path, code=404)
        assert "not yours to see" in page


async def test_a_bug_shows_nothing_of_the_inside(api: Api, monkeypatch: pytest.MonkeyPatch):
    async def broken(*_: Any) -> None:
        raise ValueError(SECRET_VALUE)

    monkeypatch.setattr("stigma_api.console.api.Api.definitions", broken)
    page = await get(api, "/agents", code=500)
    assert SECRET_VALUE not in page
    assert "Traceback" not in page


async def test_a_page_that_takes_too_long_says_so(
    temporal_server: Any, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    directory = tmp_path_factory.mktemp("console")
    quick = {"api_call_timeout": 0.000001}
    async with api_with_console(
        temporal_server.address, directory, principals=None, **quick
    ) as api:
        assert "Try again" in await get(api, "/executions", "", code=503)


async def test_without_temporal_the_pages_say_so(
    temporal_binary: Path, tmp_path_factory: pytest.TempPathFactory
):
    async with DevServer(temporal_binary) as own:
        directory = tmp_path_factory.mktemp("console")
        async with api_with_console(own.address, directory) as api:
            await own.stop()
            async with http_client(api, "caller") as browser:
                page, stream, ready = await asyncio.gather(
                    browser.get("/executions"),
                    browser.get("/events/executions"),
                    browser.get("/login"),
                )
    assert page.status_code == 503
    assert "does not answer at the moment" in page.text
    assert own.address not in page.text
    # It breaks off without the word of the end: the browser tries again.
    assert (stream.status_code, stream.text) == (200, "retry: 3000\n\n")
    assert ready.status_code == 200


async def test_a_page_follows_its_execution_to_the_end(
    api: Api, start: Start, callers: Callers, client: Client
):
    caller = await callers.start()
    started = await api.executions.StartAgent(
        caller.request(agent_id="reviewer", message="m"), **metadata("caller")
    )
    handle = client.get_workflow_handle(started.id)
    shown: dict[str, str] = {}
    async with http_client(api, "caller") as browser:
        async for parts in events(browser, f"/events/executions/{started.id}"):
            shown |= parts
            if "step 1" in shown["conversation"] and "RUN" not in shown:
                shown["RUN"] = "told"
                await handle.signal(FakeAgent.tell, "deliver")
            if "completed" in shown["summary"] and "END" not in shown:
                shown["END"] = "completed"
                # What the played orchestrator does not do.
                answer = client.get_async_activity_handle(task_token=caller.token)
                await answer.complete("done")
    assert 'class="badge completed"' in shown["summary"]
    assert "deliver" in shown["outcome"]
    assert {"model_call", "ended", "resumed"} <= set(
        re.findall(r'data-step="(\w+)"', shown["timeline"])
    )


async def test_a_stream_sends_only_what_has_changed(api: Api, start: Start, client: Client):
    started = await start()
    seen: list[dict[str, str]] = []
    shown: dict[str, str] = {}
    async with http_client(api, "caller") as browser:
        async for parts in events(browser, f"/events/executions/{started.id}"):
            if not seen:
                await client.get_workflow_handle(started.id).signal(FakeAgent.tell, "fine")
            assert parts
            assert not any(shown.get(name) == part for name, part in parts.items())
            seen.append(parts)
            shown |= parts
    names = {"summary", "inputs", "pending", "timeline", "conversation", "outcome", "writing"}
    assert set(seen[0]) == names
    assert len(seen) > 1


async def test_what_happens_shows_at_once_without_the_past_being_read_again(
    api: Api, start: Start, client: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(execution_refresh, "_REFRESH_SECONDS", 3600)  # only news makes it look
    started = await start()
    handle = client.get_workflow_handle(started.id)
    run_id = (await handle.describe()).run_id
    cursors: list[str] = []
    changes = console_api.Api.changes

    def recorded(self: Any, principal: Any, execution_id: str, cursor: str) -> Any:
        cursors.append(cursor)
        return changes(self, principal, execution_id, cursor)

    monkeypatch.setattr(console_api.Api, "changes", recorded)
    shown: dict[str, str] = {}
    async with http_client(api, "caller") as browser:
        async for parts in events(browser, f"/events/executions/{started.id}"):
            if not shown:
                await handle.signal(FakeAgent.tell, "fine")
            shown |= parts
    assert 'class="badge completed"' in shown["summary"]
    assert cursors == [str(Cursor(Position(run_id, 0)))]


async def test_the_list_comes_up_to_date_by_itself(
    api: Api, start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(execution_list, "LIST_SECONDS", 0.1)
    session = f"s-{uuid.uuid4().hex}"
    async with http_client(api, "caller") as browser:
        started = None
        async for parts in events(browser, f"/events/executions?session={session}"):
            if started is None:
                assert "No execution is like that" in parts["rows"]
                started = await start(session_id=session)
            elif started.id in parts["rows"]:
                return


async def test_many_who_watch_cost_as_much_as_one(
    api: Api, start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(execution_list, "LIST_SECONDS", 60)
    assert api.console is not None
    streams_of_all: Any = api.console._end_streams
    topics = streams_of_all.__self__._topics
    await eventually(lambda: not topics, what="the end of other tests' streams")
    before = (await requests_to_temporal(api))["ListWorkflowExecutions"]
    async with http_client(api, "caller") as browser:
        streams = [events(browser, "/events/executions?session=s-many") for _ in range(20)]
        for stream in streams:
            assert "rows" in await anext(stream)
        during = (await requests_to_temporal(api))["ListWorkflowExecutions"]
        for stream in streams:
            await stream.aclose()
    assert during - before == 2  # agents and workflows


async def test_streams_are_bounded(api: Api, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> None:
        raise errors.resource_exhausted("full", timedelta(seconds=1))

    monkeypatch.setattr("stigma_api.access.concurrency.ConcurrencyLimit.slot", full)
    async with http_client(api, "caller") as browser:
        answer = await browser.get("/events/executions")
    assert answer.status_code == 503
    assert "too many" in answer.text


async def test_a_stream_of_another_principals_execution_says_nothing(api: Api, start: Start):
    started = await start()
    async with http_client(api) as browser:
        seen = [
            parts async for parts in events_as(browser, "other", f"/events/executions/{started.id}")
        ]
    assert seen == []


def events_as(browser: Any, name: str, path: str) -> AsyncGenerator[dict[str, str], None]:
    browser.headers.update(bearer(name))
    return events(browser, path)
