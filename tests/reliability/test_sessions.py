"""Sessions through the API: many starts at once under kills, whose they are, and policies."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import json_format
from temporalio.api.enums.v1 import EventType
from temporalio.service import RPCError, RPCStatusCode

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    SESSION_POLICY_INTERRUPT,
    SESSION_POLICY_REJECT,
    AgentExecution,
)
from stigma.agent.v1.agent_execution_service_pb2 import (
    AGENT_EXECUTION_VIEW_FULL,
    CancelAgentExecutionRequest,
    GetAgentExecutionRequest,
    StartAgentRequest,
)
from stigma.agent.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from stigma.agent.v1.agent_pb2 import AgentSpec, Script, ScriptStep
from stigma.agent.v1.agent_session_pb2 import AgentSession
from stigma.agent.v1.agent_session_service_pb2 import (
    AGENT_SESSION_VIEW_FULL,
    DeleteAgentSessionRequest,
    GetAgentSessionRequest,
    ListAgentSessionsRequest,
)
from stigma.agent.v1.agent_session_service_pb2_grpc import AgentSessionServiceStub
from stigma.contracts import ids
from stigma.contracts.limits import MAX_SESSION_BYTES
from stigma.contracts.phases import has_ended
from stigma.contracts.workflows import TURN_BEGINS
from tests.reliability.test_inputs import reason_of
from tests.reliability.test_tool_kills import answered
from tests.stack.channels import open_channel
from tests.stack.plugin import StartStack, TemporalServer
from tests.stack.stack import Stack
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from stigma.agent.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceAsyncStub
    from stigma.agent.v1.agent_session_service_pb2_grpc import AgentSessionServiceAsyncStub

ACTIONS = ["agents.inline", "executions.start", "executions.read", "executions.cancel"]
PEOPLE = {"alice": ACTIONS, "bob": ACTIONS, "root": ["admin"]}
STARTS = 50
TURNS = 1000
TURN_CHARACTERS = 1500


@dataclass
class User:
    """A principal at the API."""

    name: str
    channel: grpc.aio.Channel
    executions: AgentExecutionServiceAsyncStub = field(init=False)
    sessions: AgentSessionServiceAsyncStub = field(init=False)

    def __post_init__(self) -> None:
        self.executions = AgentExecutionServiceStub(self.channel)
        self.sessions = AgentSessionServiceStub(self.channel)

    async def start(
        self, session: str, message: str, *, seconds: float = 0, **fields: Any
    ) -> AgentExecution:
        """Start an agent that says its message again."""
        step = ScriptStep(text="You said: {message}")
        step.delay.FromMilliseconds(int(seconds * 1000))
        request = StartAgentRequest(
            spec=AgentSpec(model="scripted:test", script=Script(steps=[step])),
            message=message,
            session_id=session,
            request_id=fields.pop("request_id", "") or uuid.uuid4().hex,
            **fields,
        )
        return await self.executions.StartAgent(request)

    async def ended(self, execution_id: str) -> AgentExecution:
        """Wait for the end of an execution."""

        async def found() -> AgentExecution | None:
            request = GetAgentExecutionRequest(id=execution_id, view=AGENT_EXECUTION_VIEW_FULL)
            execution = await self.executions.GetAgentExecution(request)
            # A worker that does not answer at once leaves out what the request was.
            return execution if has_ended(execution) and execution.spec.message else None

        return await answered(found)

    async def session(self, session: str, **fields: Any) -> AgentSession:
        """Return a session, once its worker answers."""
        request = GetAgentSessionRequest(id=session, **fields)
        return await answered(lambda: self.sessions.GetAgentSession(request))


@dataclass
class Site:
    """Services with principals."""

    stack: Stack
    users: dict[str, User]


@pytest.fixture(scope="module")
async def site(
    new_stack: StartStack, temporal_server: TemporalServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    principals = tmp_path_factory.mktemp("sessions") / "principals.yaml"
    listed = [
        {
            "name": name,
            "actions": actions,
            "key_sha256": [hashlib.sha256(f"key-of-{name}".encode()).hexdigest()],
        }
        for name, actions in PEOPLE.items()
    ]
    principals.write_text(json.dumps({"principals": listed}))
    stack = await new_stack(
        temporal_server.address,
        services=("stigma_orchestrator", "ai_worker", "stigma_api"),
        environment={"stigma_api": {"STIGMA_PRINCIPALS_FILE": str(principals)}},
    )
    users = {
        name: User(name, open_channel(stack.api_address, api_key=f"key-of-{name}"))
        for name in PEOPLE
    }
    yield Site(stack, users)
    for user in users.values():
        await user.channel.close()
    await stack.stop()


@pytest.fixture
def alice(site: Site) -> User:
    return site.users["alice"]


@pytest.fixture
def bob(site: Site) -> User:
    return site.users["bob"]


@pytest.fixture
def session() -> str:
    return f"s-{uuid.uuid4().hex[:8]}"


async def test_fifty_starts_at_once_have_their_turns_in_order_under_kills(
    site: Site, alice: User, session: str
):
    async def start(number: int) -> AgentExecution:
        request_id = uuid.uuid4().hex
        return await answered(
            lambda: alice.start(session, f"message {number}", seconds=0.02, request_id=request_id)
        )

    starts = asyncio.gather(*map(start, range(STARTS)))
    await eventually(lambda: has_begun_turns(site, session), what="a turn begins")
    await site.stack.kill("stigma_orchestrator", "stigma_api")
    await site.stack.start("stigma_orchestrator", "stigma_api")
    started = await starts
    for each in started:  # fifty that ask how it stands would take the time of those that work
        await site.stack.client.get_workflow_handle(each.id).result()
    ended = [await alice.ended(each.id) for each in started]

    assert {each.status.phase for each in ended} == {AGENT_EXECUTION_PHASE_COMPLETED}
    in_order = sorted(ended, key=lambda each: each.status.session_turn)
    assert [each.status.session_turn for each in in_order] == list(range(1, STARTS + 1))
    calls = [await model_call(site, each.id) for each in in_order]
    assert all(end <= begin for (_, end), (begin, _) in pairwise(calls))
    shown = await alice.session(session, view=AGENT_SESSION_VIEW_FULL)
    assert shown.turns == STARTS
    texts = [part.text for message in shown.messages for part in message.parts]
    said = [each.spec.message for each in in_order]
    assert texts == [text for each in said for text in (each, f"You said: {each}")]
    assert len(set(said)) == STARTS


@pytest.mark.soak
async def test_a_thousand_turns_carry_less_than_their_limit(site: Site, alice: User, session: str):
    """Twice as much is said as a session carries: old turns are dropped, the rest is unbroken."""
    texts = [f"{number} ".ljust(TURN_CHARACTERS, "x") for number in range(1, TURNS + 1)]
    turns, waiting = [], asyncio.Queue[str](maxsize=STARTS)

    async def start_all() -> None:
        for text in texts:
            request_id = uuid.uuid4().hex
            start = partial(alice.start, session, text, request_id=request_id)
            await waiting.put((await answered(start)).id)

    async with asyncio.TaskGroup() as group:
        group.create_task(start_all())
        for _ in texts:
            execution_id = await waiting.get()
            await site.stack.client.get_workflow_handle(execution_id).result()
            turns.append((await alice.ended(execution_id)).status.session_turn)
    assert turns == list(range(1, TURNS + 1))
    shown = await alice.session(session, view=AGENT_SESSION_VIEW_FULL)
    assert shown.turns == TURNS
    assert len(json_format.MessageToJson(shown)) < MAX_SESSION_BYTES
    carried = [part.text for message in shown.messages for part in message.parts]
    said = [each for text in texts for each in (text, f"You said: {text}")]
    first = next(index for index, text in enumerate(carried) if text in said)
    assert carried[first:] == said[-len(carried[first:]) :]
    sys.stdout.write(f"{TURNS} turns: {len(carried[first:]) // 2} carried\n")


async def has_begun_turns(site: Site, session: str) -> bool:
    workflow_id = ids.session_workflow_id("alice", site.stack.namespace, session)
    try:
        history = await site.stack.client.get_workflow_handle(workflow_id).fetch_history()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # not started yet
            raise
        return False
    begun = [
        event.signal_external_workflow_execution_initiated_event_attributes.signal_name
        for event in history.events
    ]
    return begun.count(TURN_BEGINS) > 1


async def model_call(site: Site, execution_id: str) -> tuple[float, float]:
    """Return when an execution's model call was scheduled, and when it ended."""
    times = {}
    async for event in site.stack.client.get_workflow_handle(execution_id).fetch_history_events():
        times[event.event_type] = event.event_time.ToDatetime(UTC).timestamp()
    return (
        times[EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED],
        times[EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED],
    )


async def test_a_session_is_its_principals(site: Site, alice: User, bob: User, session: str):
    await alice.ended((await alice.start(session, "a secret")).id)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bob.session(session)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    ended = await bob.ended((await bob.start(session, "mine")).id)
    assert ended.status.session_turn == 1
    shown = await bob.session(session, view=AGENT_SESSION_VIEW_FULL)
    assert [part.text for message in shown.messages for part in message.parts] == [
        "mine",
        "You said: mine",
    ]
    # Asked for by name, and deleted, another one's is not there either.
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bob.session(session, principal="alice")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    delete = DeleteAgentSessionRequest(id=session, principal="alice")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bob.sessions.DeleteAgentSession(delete)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND

    async def owners(user: User) -> set[str]:
        listed = await user.sessions.ListAgentSessions(ListAgentSessionsRequest(page_size=1000))
        return {each.principal for each in listed.sessions if each.id == session}

    await eventually(lambda: is_equal(owners(site.users["root"]), {"alice", "bob"}))
    assert await owners(bob) == {"bob"}
    await site.users["root"].sessions.DeleteAgentSession(delete)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await alice.session(session)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def is_equal(found: Any, expected: object) -> bool:
    return bool(await found == expected)


async def test_policies_of_starts_while_another_one_runs(site: Site, alice: User, session: str):
    running = await alice.start(session, "long", seconds=60)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await alice.start(session, "rejected", session_policy=SESSION_POLICY_REJECT)
    assert refused.value.code() is grpc.StatusCode.ABORTED
    assert reason_of(refused.value) == "SESSION_BUSY"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await alice.sessions.DeleteAgentSession(DeleteAgentSessionRequest(id=session))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    waiting = await alice.start(session, "waits", request_id="waits")
    # A repeated start is the same execution, and has its turn once.
    repeated = await alice.start(session, "waits", request_id="waits")
    assert repeated.id == waiting.id
    shown = await alice.session(session)
    assert (shown.running, list(shown.waiting)) == (running.id, [waiting.id])
    await alice.executions.CancelAgentExecution(CancelAgentExecutionRequest(id=running.id))
    await site.stack.client.get_workflow_handle(waiting.id).result()
    assert (await alice.ended(waiting.id)).status.session_turn == 2
    repeated = await alice.start(session, "waits", request_id="waits")
    assert repeated.status.phase == AGENT_EXECUTION_PHASE_COMPLETED
    assert (await alice.session(session)).turns == 2


async def test_an_interrupt_lets_the_step_end(alice: User, session: str):
    running = await alice.start(session, "first", seconds=1)
    second = await alice.start(session, "second", session_policy=SESSION_POLICY_INTERRUPT)
    first, ended = await asyncio.gather(alice.ended(running.id), alice.ended(second.id))
    # Its step was its last one: it has completed.
    assert first.status.phase == ended.status.phase == AGENT_EXECUTION_PHASE_COMPLETED
    shown = await alice.session(session, view=AGENT_SESSION_VIEW_FULL)
    assert len(shown.messages) == 4


async def test_a_policy_is_for_a_session(alice: User):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await alice.start("", "hello", session_policy=SESSION_POLICY_REJECT)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "session_policy" in (refused.value.details() or "")
