"""MCP servers ask people before they go on with a call, and make tasks of calls."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from temporalio.api.enums.v1 import EventType, PendingActivityState
from temporalio.client import Client, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.worker import Worker

from ai_worker.mcp.activity import KEY_META, McpCalls
from ai_worker.mcp.metrics import McpMetrics
from ai_worker.mcp.servers import Servers
from ai_worker.models.caller import ModelCaller
from ai_worker.models.catalog import build_catalog
from ai_worker.models.metrics import ModelCallMetrics
from ai_worker.settings import Settings as AiSettings
from ai_worker.worker import new_worker as new_ai_worker
from services.stigma_orchestrator.tests.conftest import CACHED_WORKFLOWS
from services.stigma_orchestrator.tests.mcp_agents import ASKING, McpAgents, McpServer
from services.stigma_orchestrator.tests.orchestration import Sender
from services.stigma_orchestrator.tests.tool_agents import (
    LAST,
    Effects,
    Ended,
    ToolAgents,
    answer,
    call,
)
from services.stigma_orchestrator.tests.waiting_agents import People, policy, refusal_of, rule
from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_INPUT_REQUIRED,
    INPUT_RESOLUTION_KIND_ANSWERED,
    INPUT_RESOLUTION_KIND_DECLINED,
    PENDING_INPUT_KIND_AUTHORIZATION,
    PENDING_INPUT_KIND_ELICITATION,
    PendingInput,
)
from stigma.agent.v1.agent_execution_service_pb2 import InputAnswer
from stigma.agent.v1.agent_pb2 import APPROVAL_REQUIREMENT_NEVER
from stigma.contracts.activities import POLL_MCP_TASK
from stigma.contracts.task_queues import TaskQueues
from stigma_orchestrator.agents.workflow import AgentWorkflow
from stigma_orchestrator.delivery.metrics import CallbackMetrics
from stigma_orchestrator.settings import OrchestratorSettings
from stigma_orchestrator.worker import new_execution_worker
from tests.stack.waiting import eventually

PAGE = "https://bank.example/authorize?order=7&then=https://shop.example/"
SOON = policy(rule(require=APPROVAL_REQUIREMENT_NEVER, expire_after=2))


@asynccontextmanager
async def running(
    client: Client, server: McpServer, *, staffed: bool = True
) -> AsyncIterator[McpAgents]:
    """Run an orchestrator, and an AI worker that has the server, on queues of their own."""
    settings = OrchestratorSettings(
        task_queue_prefix=f"{uuid.uuid4().hex[:8]}-",
        max_cached_workflows=CACHED_WORKFLOWS,
        workflow_sandbox=True,
        shutdown_grace=timedelta(seconds=1),
    )
    await server.start()
    metrics = McpMetrics(CollectorRegistry())
    servers = Servers([server.resource()], metrics)
    agents = ToolAgents(client, TaskQueues(settings.task_queue_prefix), Effects(), _no_worker)
    caller = ModelCaller(build_catalog((), 1), ModelCallMetrics(CollectorRegistry()))
    ai_settings = AiSettings(
        task_queue_prefix=settings.task_queue_prefix, shutdown_grace=settings.shutdown_grace
    )
    sender = Sender(client, CallbackMetrics(CollectorRegistry()))

    def ai_worker() -> Worker:
        return new_ai_worker(client, caller, ai_settings, McpCalls(servers, metrics))

    try:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(new_execution_worker(client, sender, settings))
            if staffed:
                await stack.enter_async_context(ai_worker())
            yield McpAgents(agents, servers, ai_worker)
    finally:
        await servers.close()
        await server.kill()


@pytest.fixture(scope="module")
async def shared(
    client: Client, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[McpAgents, McpServer]]:
    """Agents and a server for all tests that kill neither."""
    server = McpServer(tmp_path_factory.mktemp("asking") / "effects", True, [], program=ASKING)
    async with running(client, server) as agents:
        yield agents, server


@pytest.fixture
def server(shared: tuple[McpAgents, McpServer]) -> McpServer:
    return shared[1]


@pytest.fixture
async def mcp(shared: tuple[McpAgents, McpServer]) -> AsyncIterator[McpAgents]:
    """Agents with all the workers that they need; their histories are replayed at the end."""
    agents = shared[0]
    agents.agents.started.clear()
    async with asyncio.timeout(100):
        yield agents
    await agents.agents.replay()


@pytest.fixture
async def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> McpServer:
    """A server of the test's own: "http" or "stdio", and options."""
    transport, *options = str(getattr(request, "param", "http")).split()
    return McpServer(tmp_path / "effects", transport == "http", options, program=ASKING)


@pytest.fixture
async def own(client: Client, own_server: McpServer) -> AsyncIterator[McpAgents]:
    """Agents of the test's own server."""
    async with running(client, own_server) as agents:
        async with asyncio.timeout(100):
            yield agents
        await agents.agents.replay()


async def ended_of(mcp: McpAgents, handle: Any) -> Ended:
    """Wait for the end; the model was told what the workflow knows."""
    ended = await mcp.agents.ended(handle)
    if ended.phase == "COMPLETED":
        assert ended.text == "done: " + "\n".join(each.content for each in ended.results)
    return ended


def made(server: McpServer, handle: Any) -> list[str]:
    """The values of an execution's calls that had an effect."""
    return [value for _, value, meta in server.calls if handle.id in meta[KEY_META]]


def _no_worker(**_: Any) -> Any:
    raise AssertionError("these agents have tools of MCP servers only")


async def asked(mcp: McpAgents, how: str, **fields: Any) -> People:
    """Start an agent that calls `book` once."""
    return People(await mcp.start(answer(call("book", how=how, value="v")), LAST, **fields))


async def fill(people: People, found: PendingInput, **values: Any) -> Any:
    """Fill in a form."""
    return await people.submit(found, reply=InputAnswer(json=json.dumps(values)))


@pytest.mark.tools_contract("MCP asks: a form is shown, filled in and sent back")
async def test_a_form_is_filled_in(mcp: McpAgents, server: McpServer) -> None:
    people = await asked(mcp, "form")
    [found] = await people.pending()
    assert (found.kind, found.id) == (PENDING_INPUT_KIND_ELICITATION, "elicitation-1-1.1")
    assert (found.call_id, found.tool, found.question) == ("1-1", "book", "For whom?")
    assert json.loads(found.schema)["required"] == ["name"]
    assert json.loads(found.arguments_json) == {"how": "form", "value": "v"}
    execution = await people.handle.query(AgentWorkflow.execution)
    assert execution.status.phase == AGENT_EXECUTION_PHASE_INPUT_REQUIRED
    assert "first" not in str(execution)
    assert made(server, people.handle) == []
    resolution = await fill(people, found, name="Ann")
    ended = await ended_of(mcp, people.handle)
    assert resolution.how == INPUT_RESOLUTION_KIND_ANSWERED
    assert ended.outcomes == ["OK"]
    assert json.loads(ended.results[0].content) == [
        "first",
        {"who": ["accept", {"name": "Ann"}]},
    ]
    assert made(server, people.handle) == ["v"]
    assert [kind for id_, kind, _ in await ended.scheduled() if id_ == "tool-1-1"] == [
        "call_mcp_tool",
        "resume_mcp_tool",
    ]


@pytest.mark.tools_contract("MCP asks: a page is shown, never fetched, and its opening confirmed")
async def test_a_page_is_opened_by_a_person(mcp: McpAgents, server: McpServer) -> None:
    people = await asked(mcp, "page")
    [found] = await people.pending()
    assert (found.kind, found.url) == (PENDING_INPUT_KIND_AUTHORIZATION, PAGE)
    assert (found.id, found.question) == ("authorization-1-1.1", "Authorize the payment.")
    memo = await (await people.handle.describe()).memo_value("pending_inputs")
    assert memo.inputs[0].url == PAGE
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await people.reply(found, "no, I cannot")
    assert refusal_of(refused.value) == "ANSWER_NOT_ALLOWED"
    await people.reply(found, "Done")
    ended = await ended_of(mcp, people.handle)
    assert json.loads(ended.results[0].content)[1] == {"pay": ["accept", None]}


@pytest.mark.tools_contract("MCP asks: the server is told of what is declined")
async def test_a_form_and_a_page_of_one_call_in_any_order(
    mcp: McpAgents, server: McpServer
) -> None:
    people = await asked(mcp, "two")
    who, pay = await people.pending(2)
    resolution = await people.decline(pay, "not mine")
    assert resolution.how == INPUT_RESOLUTION_KIND_DECLINED
    assert [each.id for each in await people.pending()] == [who.id]
    assert made(server, people.handle) == []
    await fill(people, who, name="Ann")
    ended = await ended_of(mcp, people.handle)
    assert json.loads(ended.results[0].content)[1] == {
        "who": ["accept", {"name": "Ann"}],
        "pay": ["decline", None],
    }


@pytest.mark.tools_contract("MCP asks: an answer that is no object is refused")
async def test_an_answer_to_a_form_is_an_object(mcp: McpAgents) -> None:
    people = await asked(mcp, "form")
    [found] = await people.pending()
    for reply in (
        InputAnswer(text="Ann"),
        InputAnswer(json='"Ann"'),
        InputAnswer(json='{"name": {"first": "Ann"}}'),
        InputAnswer(json='{"name": [1]}'),
    ):
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await people.submit(found, reply=reply)
        assert refusal_of(refused.value) == "ANSWER_NOT_ALLOWED"
    large = InputAnswer(json=json.dumps({"name": "x" * 20_000}))
    with pytest.raises(WorkflowUpdateFailedError):
        await people.submit(found, reply=large)
    await people.decline(found)
    ended = await ended_of(mcp, people.handle)
    assert json.loads(ended.results[0].content)[1] == {"who": ["decline", None]}


@pytest.mark.tools_contract("MCP asks: a server may ask again, so often")
async def test_a_server_asks_twice(mcp: McpAgents, server: McpServer) -> None:
    people = await asked(mcp, "twice")
    [first] = await people.pending()
    await fill(people, first, name="Ann")
    await eventually(lambda: _asks_for(people, "elicitation-1-1.2"), what="the second form")
    [second] = await people.pending()
    assert second.question == "How large?"
    await fill(people, second, size=3, late=True)
    ended = await ended_of(mcp, people.handle)
    state, answers = json.loads(ended.results[0].content)
    assert json.loads(state)["content"] == {"name": "Ann"}
    assert answers == {"size": ["accept", {"size": 3, "late": True}]}
    assert made(server, people.handle) == ["v"]


async def _asks_for(people: People, input_id: str) -> bool:
    return [each.id for each in await people.pending()] == [input_id]


@pytest.mark.tools_contract("MCP asks: a server may ask again, so often")
async def test_a_server_that_asks_without_end_is_an_error(
    mcp: McpAgents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stigma.contracts.limits.MAX_MCP_ROUNDS", 2)
    people = await asked(mcp, "again")
    for number in (1, 2):
        await eventually(partial(_asks_for, people, f"elicitation-1-1.{number}"))
        [found] = await people.pending()
        await fill(people, found, name="Ann")
    ended = await ended_of(mcp, people.handle)
    assert ended.outcomes == ["ERROR"]
    assert "may ask no more" in ended.results[0].content


@pytest.mark.tools_contract("MCP asks: what only asks for patience is sent again")
async def test_a_server_that_only_wants_its_state_back(mcp: McpAgents, server: McpServer) -> None:
    ended = await mcp.run(answer(call("book", how="state", value="v")), LAST)
    assert json.loads(ended.results[0].content) == ["first", {}]


@pytest.mark.tools_contract("MCP asks: nobody answered in time")
async def test_nobody_answers_a_server(mcp: McpAgents, server: McpServer) -> None:
    people = await asked(mcp, "two", approval=SOON)
    ended = await ended_of(mcp, people.handle)
    assert (ended.phase, ended.outcomes) == ("COMPLETED", ["NOT_RUN"])
    assert ended.results[0].content == "Nobody answered in time."
    assert made(server, people.handle) == []


@pytest.mark.tools_contract("MCP asks: samples, folders and other addresses are refused in words")
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("sample", "an answer of a model (sampling)"),
        ("script", "not one of the web"),
        ("large", "a state of more than"),
    ],
)
async def test_what_people_cannot_be_asked(mcp: McpAgents, how: str, said: str) -> None:
    ended = await mcp.run(answer(call("book", how=how)), LAST)
    assert ended.outcomes == ["ERROR"]
    assert said in ended.results[0].content


@pytest.mark.tools_contract("MCP asks: a server that was restarted may ask anew")
@pytest.mark.parametrize("own_server", ["http", "http keyed"], indirect=True)
async def test_a_server_restarts_before_the_answer(own: McpAgents, own_server: McpServer) -> None:
    server, people = own_server, await asked(own, "form")
    [first] = await people.pending()
    await server.restart()
    await fill(people, first, name="Ann")
    if "keyed" not in server.options:
        await eventually(lambda: _asks_for(people, "elicitation-1-1.2"), what="the form again")
        [second] = await people.pending()
        assert second.question == first.question
        await fill(people, second, name="Bea")
    ended = await ended_of(own, people.handle)
    assert ended.outcomes == ["OK"]
    name = "Ann" if "keyed" in server.options else "Bea"
    assert json.loads(ended.results[0].content)[1] == {"who": ["accept", {"name": name}]}
    assert made(server, people.handle) == ["v"]


@pytest.mark.tools_contract("MCP asks: an answer that is lost on its way is UNKNOWN")
@pytest.mark.parametrize("own_server", ["stdio"], indirect=True)
async def test_a_server_that_dies_with_the_answer_leaves_it_unknown(
    own: McpAgents, own_server: McpServer
) -> None:
    server, people = own_server, await asked(own, "die")
    [found] = await people.pending()
    await fill(people, found, name="Ann")
    ended = await ended_of(own, people.handle)
    assert ended.outcomes == ["UNKNOWN"]
    assert "may have happened. It was not repeated" in ended.results[0].content
    assert made(server, people.handle) == ["v"]


@pytest.mark.tools_contract("MCP asks: workers may change while people are waited for")
async def test_another_worker_sends_the_answer(client: Client, own_server: McpServer) -> None:
    async with running(client, own_server, staffed=False) as own:
        async with own.new_ai_worker():
            people = await asked(own, "form")
            [found] = await people.pending()
        await fill(people, found, name="Ann")
        async with own.new_ai_worker():
            ended = await ended_of(own, people.handle)
    assert ended.outcomes == ["OK"]
    assert made(own_server, people.handle) == ["v"]


@pytest.mark.tools_contract("MCP asks: calls of a batch do not wait for others' answers")
async def test_other_calls_go_on(mcp: McpAgents, server: McpServer) -> None:
    calls = [
        call("book", how="form", value="a"),
        call("book", how="state", value="b"),
        call("book", how="page", value="c"),
    ]
    people = People(await mcp.start(answer(*calls), LAST))
    form, page = sorted(await people.pending(2), key=lambda found: found.call_id)
    await eventually(lambda: made(server, people.handle) == ["b"], what="the free one")
    await people.reply(page, "done")
    await eventually(lambda: made(server, people.handle) == ["b", "c"], what="the page's")
    await fill(people, form, name="Ann")
    ended = await ended_of(mcp, people.handle)
    assert [result.call_id for result in ended.results] == ["1-1", "1-2", "1-3"]
    assert ended.outcomes == ["OK"] * 3


@pytest.mark.tools_contract("MCP asks: what stops an execution ends its waiting")
@pytest.mark.parametrize("how", ["cancel", "after the step"])
async def test_what_stops_an_execution_stops_the_asking(
    mcp: McpAgents, server: McpServer, how: str
) -> None:
    people = await asked(mcp, "form")
    await people.pending()
    if how == "cancel":
        await people.handle.cancel()
    else:
        await people.handle.execute_update(AgentWorkflow.stop_after_step, "enough", id="stop")
    ended = await ended_of(mcp, people.handle)
    assert ended.phase == "CANCELLED CANCELLED"
    assert not ended.full.status.pending_inputs
    assert made(server, people.handle) == []


@pytest.mark.tools_contract("MCP asks: an approval with other arguments comes first")
async def test_an_edited_call_is_asked_about(mcp: McpAgents, server: McpServer) -> None:
    people = await asked(mcp, "none", approval=policy(rule(allow_edit=True)))
    [approval] = await people.pending()
    edited = json.dumps({"how": "form", "value": "edited"})
    await people.approve(approval, arguments_json=edited)
    await eventually(lambda: _asks_for(people, "elicitation-1-1.1"), what="the form")
    [found] = await people.pending()
    assert json.loads(found.arguments_json)["value"] == "edited"
    await fill(people, found, name="Ann")
    ended = await ended_of(mcp, people.handle)
    assert ended.results[0].content.startswith("[A person changed the arguments of this call: ")
    assert made(server, people.handle) == ["edited"]


@pytest.fixture
async def soon_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that end as soon as nothing of ours is under way."""
    monkeypatch.setattr(
        "temporalio.workflow.Info.is_continue_as_new_suggested", lambda _: _has_waited()
    )


def _has_waited() -> bool:
    from temporalio import workflow

    return workflow.info().get_current_history_length() > 8


@pytest.mark.tools_contract("MCP asks: continue-as-new carries what a server asks")
async def test_runs_change_while_a_server_asks(
    soon_continued: None, mcp: McpAgents, server: McpServer
) -> None:
    people = await asked(mcp, "twice")
    handle = mcp.agents.client.get_workflow_handle(people.handle.id)
    for number, values in ((1, {"name": "Ann"}), (2, {"size": 3})):
        await eventually(partial(_asks_for, people, f"elicitation-1-1.{number}"))
        await eventually(partial(mcp.agents.has_runs, handle.id, number + 1), what="another run")
        [found] = await people.pending()
        assert found.question
        assert found.schema
        await fill(people, found, **values)
    ended = await ended_of(mcp, people.handle)
    state, answers = json.loads(ended.results[0].content)
    assert json.loads(state)["content"] == {"name": "Ann"}
    assert answers == {"size": ["accept", {"size": 3}]}
    assert made(server, people.handle) == ["v"]


@pytest.mark.tools_contract("MCP asks: by version 2025-11-25 declined, and said")
@pytest.mark.parametrize("own_server", ["http old", "stdio old"], indirect=True)
async def test_a_question_within_an_open_call_is_declined(own: McpAgents) -> None:
    ended = await own.run(answer(call("book", how="open", value="v")), LAST)
    assert ended.outcomes == ["OK"]
    said, note = ended.results[0].content.split("\n")
    assert said == "booked: decline"
    assert "It was declined" in note


@pytest.mark.tools_contract("MCP tasks: a task is followed to its result")
async def test_a_task_is_followed(mcp: McpAgents, server: McpServer) -> None:
    ended = await mcp.run(answer(call("work", value="v"), call("work", how="fail")), LAST)
    assert ended.outcomes == ["OK", "ERROR"]
    assert ended.results[0].content == '"worked"'
    assert ended.results[1].content == "The task failed: out of paper"
    assert sorted(made(server, ended.handle)) == ["", "v"]
    kinds = [kind for id_, kind, _ in await ended.scheduled() if id_ == "tool-1-1"]
    assert kinds == ["call_mcp_tool", "poll_mcp_task", "poll_mcp_task"]


@pytest.mark.tools_contract("MCP tasks: a task asks people too")
async def test_a_task_asks(mcp: McpAgents, server: McpServer) -> None:
    people = People(await mcp.start(answer(call("work", how="asks")), LAST))
    [found] = await people.pending()
    assert (found.kind, found.question) == (PENDING_INPUT_KIND_ELICITATION, "For whom?")
    await fill(people, found, name="Ann")
    ended = await ended_of(mcp, people.handle)
    given = json.loads(ended.results[0].content)
    assert given["who"]["content"] == {"name": "Ann"}


@pytest.mark.tools_contract("MCP tasks: nobody answers a task, which is cancelled then")
async def test_nobody_answers_a_task(mcp: McpAgents, server: McpServer) -> None:
    ended = await mcp.run(answer(call("work", how="asks")), LAST, approval=SOON)
    assert ended.outcomes == ["UNKNOWN"]
    assert "Nobody answered in time" in ended.results[0].content
    assert server.cancelled_of(ended.handle.id) == ["asks"]


@pytest.mark.tools_contract("MCP tasks: one that takes too long is cancelled, and UNKNOWN")
async def test_a_task_that_takes_too_long(mcp: McpAgents, server: McpServer) -> None:
    ended = await mcp.run(answer(call("work", how="endless")), LAST, policy={"timeout": 5})
    assert ended.outcomes == ["UNKNOWN"]
    assert "took longer than 5 s" in ended.results[0].content
    assert "may have happened" in ended.results[0].content
    assert server.cancelled_of(ended.handle.id) == ["endless"]


@pytest.mark.tools_contract("MCP tasks: a cancel reaches the server")
async def test_a_cancel_reaches_the_task(mcp: McpAgents, server: McpServer) -> None:
    handle = await mcp.start(answer(call("work", how="endless")), LAST)
    await eventually(lambda: _polls(handle), what="a poll")
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert server.cancelled_of(handle.id) == ["endless"]


async def _polls(handle: Any) -> bool:
    events = [event async for event in handle.fetch_history_events()]
    kinds = [event.activity_task_scheduled_event_attributes.activity_type.name for event in events]
    ended = events[-1].event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED
    assert not ended, f"ended without a poll: {await handle.result()}"
    return "poll_mcp_task" in kinds


@pytest.mark.tools_contract("MCP tasks: one that its server has forgotten is UNKNOWN")
async def test_a_task_that_is_forgotten(own: McpAgents, own_server: McpServer) -> None:
    handle = await own.start(answer(call("work", how="endless")), LAST)
    await eventually(lambda: _polls(handle), what="a poll")
    await own_server.restart()
    ended = await ended_of(own, handle)
    assert ended.outcomes == ["UNKNOWN"]
    assert "does not know the task" in ended.results[0].content
    assert made(own_server, handle) == [""]


@pytest.mark.tools_contract("MCP tasks: continue-as-new carries a task")
async def test_runs_change_while_a_task_runs(
    soon_continued: None, mcp: McpAgents, server: McpServer
) -> None:
    people = People(await mcp.start(answer(call("work", how="asks")), LAST))
    await eventually(lambda: mcp.agents.has_runs(people.handle.id, 2), what="another run")
    [found] = await people.pending()
    await fill(people, found, name="Ann")
    ended = await ended_of(mcp, people.handle)
    assert json.loads(ended.results[0].content)["who"]["content"] == {"name": "Ann"}
    assert made(server, people.handle) == [""]
    assert server.cancelled_of(people.handle.id) == []


@pytest.mark.tools_contract("MCP tasks: a cancel reaches the server")
async def test_a_cancel_reaches_a_task_whose_state_is_being_asked_for(
    mcp: McpAgents, server: McpServer
) -> None:
    handle = await mcp.start(answer(call("work", how="stuck")), LAST)
    await eventually(lambda: _asks_for_state(handle), what="a poll under way")
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert server.cancelled_of(handle.id) == ["stuck"]
    assert EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED not in [
        event.event_type async for event in handle.fetch_history_events()
    ]


async def _asks_for_state(handle: Any) -> bool:
    pending = (await handle.describe()).raw_description.pending_activities
    started = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    return any(
        each.activity_type.name == POLL_MCP_TASK and each.state == started for each in pending
    )


@pytest.mark.tools_contract(
    "MCP tasks: one that does not take its answers is cancelled, and UNKNOWN"
)
async def test_a_task_that_refuses_its_answers(mcp: McpAgents, server: McpServer) -> None:
    people = People(await mcp.start(answer(call("work", how="refuses")), LAST))
    [found] = await people.pending()
    await fill(people, found, name="Ann")
    ended = await ended_of(mcp, people.handle)
    assert ended.outcomes == ["UNKNOWN"]
    assert "did not take what people answered" in ended.results[0].content
    assert server.cancelled_of(people.handle.id) == ["refuses"]


@pytest.mark.tools_contract("MCP asks: what only asks for patience is sent again")
async def test_many_calls_with_large_states_go_on(mcp: McpAgents, server: McpServer) -> None:
    calls = [call("book", how="patient", value=str(number)) for number in range(24)]
    ended = await mcp.run(answer(*calls), LAST)
    assert ended.outcomes == ["OK"] * len(calls)
    assert len(made(server, ended.handle)) == len(calls)


@pytest.mark.tools_contract("MCP asks: a form is shown, filled in and sent back")
async def test_calls_ask_in_turn_where_too_much_is_asked(
    monkeypatch: pytest.MonkeyPatch, mcp: McpAgents
) -> None:
    monkeypatch.setattr("stigma.contracts.limits.MAX_PENDING_INPUTS", 3)  # in the replay too
    calls = [call("book", how="two", value=value) for value in "abc"]
    people = People(await mcp.start(answer(*calls), LAST))
    asked_of = []
    for _ in calls:
        found = await people.pending(2)
        [call_id] = {each.call_id for each in found}
        asked_of.append(call_id)
        for each in found:
            await people.decline(each)
    ended = await ended_of(mcp, people.handle)
    assert sorted(asked_of) == ["1-1", "1-2", "1-3"]
    assert ended.outcomes == ["OK"] * 3
