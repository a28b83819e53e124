"""The console's box, chart, agents' pages, and what its buttons do."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client

from services.stigma_api.tests.api_server import SCRIPTED, Api
from services.stigma_api.tests.consoles import (
    api_with_console,
    http_client,
    metadata,
    principal_with_key,
    running_agents,
)
from services.stigma_api.tests.fake_executions import FakeAgent
from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import (
    AGENT_EXECUTION_VIEW_FULL,
    GetAgentExecutionRequest,
    StartAgentRequest,
)
from stigma.agent.v1.agent_pb2 import Agent, AgentSpec, ClientTool, Tool
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest, DeleteAgentRequest
from stigma_api.access.principals import Action, Principals
from stigma_api.console.searches import Search
from tests.stack.waiting import eventually

PEOPLE = Principals(
    [
        principal_with_key("root", actions=frozenset({Action.ADMIN})),
        principal_with_key("caller"),
        principal_with_key("other"),
        principal_with_key("reader", actions=frozenset({Action.EXECUTIONS_READ})),
        principal_with_key("narrow", agents=["writer"]),
    ]
)
Start = Callable[..., Awaitable[AgentExecution]]


@pytest.fixture(scope="module")
async def api(
    client: Client, temporal_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    directory = tmp_path_factory.mktemp("console")
    async with (
        api_with_console(temporal_server.address, directory, principals=PEOPLE) as api,
        running_agents(client, api),
    ):
        await apply(api, "Be kind.")
        yield api


async def apply(api: Api, instructions: str, name: str = "reviewer") -> Agent:
    spec = AgentSpec()
    spec.CopyFrom(SCRIPTED)
    spec.instructions = instructions
    spec.limits.steps = 7
    spec.tools.append(Tool(name="locate", description="Where?", client=ClientTool()))
    request = ApplyAgentRequest(agent=Agent(name=name, spec=spec))
    applied: Agent = await api.agents.ApplyAgent(request, **metadata("root"))
    return applied


@pytest.fixture
def start(api: Api, client: Client) -> Start:
    async def start(tell: str = "", who: str = "caller", **fields: Any) -> AgentExecution:
        request = StartAgentRequest(**({"agent_id": "reviewer", "message": "m"} | fields))
        started: AgentExecution = await api.executions.StartAgent(request, **metadata(who))
        if tell:
            handle = client.get_workflow_handle(started.id)
            await handle.signal(FakeAgent.tell, tell)

            async def closed() -> bool:
                return (await handle.describe()).close_time is not None

            await eventually(closed, what=f"the end of {started.id}")
        return started

    return start


async def get(api: Api, path: str, who: str = "caller", code: int = 200, **query: Any) -> Any:
    async with http_client(api, who) as browser:
        answer = await browser.get(path, params=query)
    assert answer.status_code == code, answer.text
    return answer


async def post(api: Api, path: str, who: str, **form: str) -> Any:
    async with http_client(api, who) as browser:
        return await browser.post(path, data=form)


async def read(api: Api, execution_id: str, who: str = "caller") -> AgentExecution:
    request = GetAgentExecutionRequest(id=execution_id, view=AGENT_EXECUTION_VIEW_FULL)
    found: AgentExecution = await api.executions.GetAgentExecution(request, **metadata(who))
    return found


def found_at(execution_id: str) -> str:
    return f"/executions/{execution_id}"


async def test_the_box_takes_any_id(api: Api, start: Start):
    session, request_id = f"s-{uuid.uuid4().hex}", f"order {uuid.uuid4().hex}"
    caller = {"workflow_id": f"order-{uuid.uuid4().hex}", "run_id": "r", "activity_id": "a"}
    first = await start("fine", session_id=session, request_id=request_id)
    second = await start("fine", session_id=session)
    called = await start("fine", caller=caller, request_id=f"{request_id}-2")

    async def leads_to(text: str, who: str = "caller") -> str | None:
        async with http_client(api, who) as browser:
            answer = await browser.get("/executions", params={"filter_text": f" {text} "})
        return str(answer.headers["location"]) if answer.status_code == 303 else None

    assert await leads_to(first.id) == found_at(first.id)
    assert await leads_to(request_id) == found_at(first.id)
    # Visibility is late: what is not found by its id alone.
    for text, who, expected in (
        (caller["workflow_id"], "caller", found_at(called.id)),
        (request_id, "root", found_at(first.id)),
        (session, "caller", f"/executions?session={session}"),
    ):

        async def found(text: str = text, who: str = who, expected: str = expected) -> bool:
            return await leads_to(text, who) == expected

        await eventually(found, what=text)
    page = (await get(api, "/executions", session=session)).text
    assert {first.id, second.id} <= set(re.findall(r'data-key="([^"]+)"', page))
    for unseen in (first.id, request_id, session, caller["workflow_id"]):
        page = (await get(api, "/executions", "other", filter_text=unseen)).text
        assert "Nothing that you may see has the id" in page
        assert first.id not in re.findall(r'data-key="([^"]+)"', page)


async def test_several_executions_of_one_caller_are_listed(api: Api, start: Start):
    caller = {"workflow_id": f"order-{uuid.uuid4().hex}", "run_id": "r", "activity_id": "a"}
    ids = {(await start("fine", caller=caller)).id for _ in range(2)}

    async def listed() -> bool:
        async with http_client(api, "caller") as browser:
            query = {"filter_text": caller["workflow_id"]}
            page = (await browser.get("/executions", params=query)).text
        return set(re.findall(r'data-key="([^"]+)"', page)) == ids

    await eventually(listed, what="two executions")


async def test_a_failed_row_says_why(api: Api, start: Start):
    session = f"s-{uuid.uuid4().hex}"
    failed = await start("fail", session_id=session)
    broken = await start("break", session_id=session)
    fine = await start("fine", session_id=session)

    async def shown() -> str | None:
        page: str = (await get(api, "/executions", session=session)).text
        are_closed = ">STEP_LIMIT<" in page and ">INTERNAL<" in page and fine.id in page
        return page if are_closed else None

    page = await eventually(shown, what="three rows")
    rows = {
        row[0]: row[1]
        for row in re.findall(r'data-key="([^"]+)">\s*<td role="cell">(.*?)</td>', page)
    }
    assert ">STEP_LIMIT<" in rows[failed.id]
    assert "too many" not in page
    assert ">INTERNAL<" in rows[broken.id]
    assert "why" not in rows[fine.id]


async def test_executions_are_counted_by_outcome_and_time(api: Api, start: Start):
    session = f"s-{uuid.uuid4().hex}"
    await start("fail", session_id=session)
    for _ in range(2):
        await start("fine", session_id=session)
    held = await start(session_id=session)

    async def counted(**query: Any) -> tuple[str, str]:
        page = (await get(api, "/executions", session=session, **query)).text
        label = re.search(r'<svg [^>]*aria-label="([^"]*)"', page)
        return page, label[1] if label else ""

    async def all_of_them() -> str | None:
        page, label = await counted(range="1h")
        whole = "in the last hour: 2 completed, 1 failed, 1 open"
        return page if label.endswith(whole) else None

    page = await eventually(all_of_them, what="the counts")
    assert len(re.findall(r'<rect class="failed"', page)) == 1
    _, label = await counted()
    assert label.endswith("in the last 24 hours: 2 completed, 1 failed, 1 open")
    _, label = await counted(kind="workflow")
    assert label.endswith(": none")
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    page, label = await counted(range="1h", at=yesterday)
    assert label.endswith(": none")
    assert held.id not in page.partition("<svg")[2].partition("Newest")[2]
    await post(api, f"/executions/{held.id}/cancel", "caller")


def test_pages_of_a_range_are_of_one_list():
    search = Search(range="7d")
    assert search.fixed.query() == search.fixed.query()
    assert search.fixed.end == Search.from_query({"range": "7d", "at": search.fixed.at}).end
    assert search.fixed.newest == search
    for at in ("yesterday", "2026-01-31T12:00:00", ""):
        assert Search(range="1h", at=at).end > datetime.now(UTC)


async def test_an_agents_page_has_its_versions_and_what_changed(api: Api, start: Start):
    name = f"a-{uuid.uuid4().hex[:8]}"
    await apply(api, "Be kind. <b>", name)
    await apply(api, "Be brief. <b>", name)
    execution = await start("fine", agent_id=f"{name}@1")

    async def shown() -> str | None:
        page: str = (await get(api, f"/agents/{name}")).text
        return page if execution.id in page else None

    page = await eventually(shown, what="its execution")
    for text in (f"{name}<", "@2", "Be brief. &lt;b&gt;", "locate", "<dd>7</dd>", "by root"):
        assert text in page, text
    assert "Be kind." not in page
    old = (await get(api, f"/agents/{name}", version="1")).text
    assert "Be kind. &lt;b&gt;" in old
    compared = (await get(api, f"/agents/{name}", version="2", compare="1")).text
    assert '<span class="removed">- instructions: Be kind. &lt;b&gt;</span>' in compared
    assert '<span class="added">+ instructions: Be brief. &lt;b&gt;</span>' in compared
    same = (await get(api, f"/agents/{name}", compare="2")).text
    assert "Nothing differs." in same
    for query, code in (({"version": "9"}, 404), ({"version": "x"}, 400), ({"compare": "-1"}, 400)):
        await get(api, f"/agents/{name}", code=code, **query)
    await get(api, f"/agents/{name}", "narrow", 403)
    await get(api, f"/agents/{name}", "reader", 403)
    await get(api, "/agents/nobody", code=404)


async def test_a_cancel_is_confirmed_and_needs_the_permission(api: Api, start: Start):
    execution = await start()
    path = f"/executions/{execution.id}/cancel"
    assert f'href="{path}"' in (await get(api, found_at(execution.id))).text
    asked = (await get(api, path)).text
    assert "Cancel this execution?" in asked
    await get(api, path, "other", 404)
    await get(api, path, "reader", 403)
    assert (await post(api, path, "other")).status_code == 404
    assert (await post(api, path, "reader")).status_code == 403
    refused = await post(api, path, "caller", reason="x" * 10_000)
    assert refused.status_code == 409
    assert "reason" in refused.text
    async with http_client(api, "caller") as browser:
        for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
            assert (await browser.post(path, headers=headers)).status_code == 403
    done = await post(api, path, "caller", reason="wrong order")
    assert (done.status_code, done.headers["location"]) == (303, found_at(execution.id))

    async def ended() -> str | None:
        page: str = (await get(api, found_at(execution.id))).text
        return page if ">cancelled<" in page else None

    page = await eventually(ended, what="the end")
    assert f'href="{path}"' not in page
    assert "It has ended" in (await get(api, path)).text


async def test_asking_again_starts_the_same_once(api: Api, start: Start):
    execution = await start(
        "fine",
        message="Is it safe?\nReally?",
        input_json='{"a":1}',
        env={"CITY": "Rome"},
        session_id=f"s-{uuid.uuid4().hex}",
        labels={"team": "core"},
    )
    path = f"/executions/{execution.id}/again"
    assert f'href="{path}"' in (await get(api, found_at(execution.id))).text
    asked = (await get(api, path)).text
    assert "Is it safe?\nReally?</textarea>" in asked
    assert "Rome" not in asked
    request_id = re.findall('name="request" value="(.*?)"', asked)[0]
    form = {"request": request_id, "message": "Is it safe?\r\nReally?", "version": "same"}
    assert (await post(api, path, "reader", **form)).status_code == 403
    assert (await post(api, path, "other", **form)).status_code == 404
    assert (await post(api, path, "caller", **form | {"request": "mine"})).status_code == 400
    async with http_client(api, "caller") as browser:
        headers = {"sec-fetch-site": "cross-site"}
        assert (await browser.post(path, data=form, headers=headers)).status_code == 403
    places = {(await post(api, path, "caller", **form)).headers["location"] for _ in range(2)}
    [place] = places
    again = await read(api, place.rpartition("/")[2])
    assert again.id != execution.id
    assert again.spec.agent_id == execution.spec.agent_id
    assert (again.spec.session_id, dict(again.spec.labels)) == ("", {"team": "core"})
    page = (await get(api, place)).text
    assert "<code>CITY</code>" in page
    assert "Is it safe?" in page
    assert again.spec.input_json == '{"a":1}'
    changed = form | {"request": f"console-{uuid.uuid4().hex}", "message": "And now?"}
    place = (await post(api, path, "caller", **changed)).headers["location"]
    assert "And now?" in (await get(api, place)).text
    await post(api, f"{place}/cancel", "caller")


async def test_a_newer_version_can_be_asked_and_one_that_is_gone_is_said(api: Api, start: Start):
    name = f"a-{uuid.uuid4().hex[:8]}"
    await apply(api, "one", name)
    execution = await start("fine", agent_id=name)
    await apply(api, "two", name)
    path = f"/executions/{execution.id}/again"
    form = {"request": f"console-{uuid.uuid4().hex}", "version": "newest"}
    place = (await post(api, path, "caller", **form)).headers["location"]
    again = await read(api, place.rpartition("/")[2])
    assert again.spec.agent_id == f"{name}@2"
    await post(api, f"{place}/cancel", "caller")
    await api.agents.DeleteAgent(DeleteAgentRequest(name=name), **metadata("root"))
    gone = await post(api, path, "caller", **form | {"request": f"console-{uuid.uuid4().hex}"})
    assert gone.status_code == 400
    assert f"agent {name} not found" in gone.text


async def test_there_are_no_buttons_without_the_permission(api: Api, start: Start):
    execution = await start(who="root", message="mine")
    page = (await get(api, found_at(execution.id), "root")).text
    assert "/cancel" in page
    assert "/again" in page
    await get(api, found_at(execution.id), "caller", 404)
    await post(api, f"/executions/{execution.id}/cancel", "root")


async def test_sessions_are_shown_to_those_whose_they_are(api: Api, start: Start):
    session = f"s {uuid.uuid4().hex}"
    turn = await start("fine", session_id=session)

    async def shown() -> str | None:
        page: str = (await get(api, "/session", id=session)).text
        return page if turn.id in page else None

    page = await eventually(shown, what="the turn")
    assert f"<h1>{session}</h1>" in page
    await get(api, "/session", "other", 404, id=session)
    await get(api, "/session", "other", 404, id=session, owner="caller")
    assert turn.id in (await get(api, "/session", "root", id=session, owner="caller")).text
    await get(api, "/session", code=400)
