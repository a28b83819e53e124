"""Sessions: turns one at a time, in order, each with what was said before."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
import pytest
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer

from services.stigma_orchestrator.tests.orchestration import phase_of
from services.stigma_orchestrator.tests.tool_agents import Ended, ToolAgents, answer, call
from stigma.agent.v1.agent_execution_pb2 import (
    SESSION_POLICY_INTERRUPT,
    SESSION_POLICY_REJECT,
    AgentExecutionSpec,
    Message,
)
from stigma.agent.v1.agent_pb2 import (
    CONTEXT_STRATEGY_FAIL,
    AgentSpec,
    ContextPolicy,
    Script,
    ScriptFailure,
    ScriptStep,
)
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_CONTEXT_LENGTH as TOO_LONG
from stigma.agent.v1.agent_session_pb2 import AgentSession
from stigma.contracts import ids, limits
from stigma.contracts.payloads import DATA_CONVERTER
from stigma.contracts.workflows import SessionWorkflow as SessionInterface
from stigma.contracts.workflows import UpdateRefusal
from stigma_api.errors import ApiError
from stigma_api.executions.session_turns import SessionTurns
from stigma_orchestrator.agents.workflow import AgentWorkflow
from stigma_orchestrator.delivery.caller_look import CallerLooks
from stigma_orchestrator.sessions.workflow import SessionWorkflow
from stigma_orchestrator.settings import OrchestratorSettings
from stigma_orchestrator.worker import new_watch_worker
from tests.stack.waiting import eventually

ECHO = (answer(text="You said: {message}"),)


@dataclass
class Session:
    """One session, and its turns as the API starts them."""

    agents: ToolAgents
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    idle_timeout: timedelta = timedelta(hours=1)
    _turns: SessionTurns | None = None

    @property
    def id(self) -> str:
        return ids.session_workflow_id("alice", self.agents.client.namespace, self.name)

    @property
    def handle(self) -> WorkflowHandle[SessionInterface, None]:
        return self.agents.client.get_workflow_handle_for(SessionInterface.run, self.id)

    async def request(self, execution_id: str, policy: Any = 0) -> int:
        """Ask for a turn; return its number."""
        turns = self._turns or SessionTurns(
            self.agents.client, self.agents.queues.orchestrator, self.idle_timeout
        )
        self._turns = turns
        spec = AgentExecutionSpec(principal="alice", session_id=self.name, session_policy=policy)
        while True:  # as callers do: without a cache of workflows, a hundred at once take long
            try:
                return await turns.request(execution_id, spec)
            except ApiError as error:
                if error.code is not grpc.StatusCode.UNAVAILABLE:
                    raise

    async def launch(
        self, execution_id: str, message: str, agent: AgentSpec | None = None, **fields: Any
    ) -> WorkflowHandle[AgentWorkflow, Any]:
        """Start the execution of a turn."""
        return await self.agents.start(
            agent or AgentSpec(model="scripted:test", script=Script(steps=ECHO)),
            execution_id=execution_id,
            session=self.id,
            message=message,
            **fields,
        )

    async def start(
        self, message: str, agent: AgentSpec | None = None, policy: Any = 0, **fields: Any
    ) -> WorkflowHandle[AgentWorkflow, Any]:
        """Ask for a turn, and start its execution."""
        execution_id = f"agent-{uuid.uuid4().hex}"
        await self.request(execution_id, policy)
        return await self.launch(execution_id, message, agent, **fields)

    async def say(self, message: str, agent: AgentSpec | None = None, **fields: Any) -> Ended:
        """Start a turn, and wait for its end."""
        return await self.agents.ended(await self.start(message, agent, **fields))

    async def show(self, *, full: bool = False) -> AgentSession:
        return await self.handle.query(SessionInterface.session, full)

    def heard(self, ended: Ended, step: int = 1) -> list[str]:
        """The texts that the model was sent in a turn."""
        return texts(self.agents.model.conversations[ended.handle.id, step])


def texts(messages: Any) -> list[str]:
    """What was said: "u" before what a user says, "m" before what a model does."""
    return [_text(message) for message in messages]


def _text(message: Message) -> str:
    parts = []
    for part in message.parts:
        match part.WhichOneof("kind"):
            case "tool_call":
                parts.append(f"calls {part.tool_call.name}")
            case "tool_result":
                parts.append(f"result {part.tool_result.content}")
            case _:
                parts.append(part.text)
    return f"{'m' if message.role == 2 else 'u'} {' '.join(parts)}"


@pytest.fixture
async def session(
    agents: ToolAgents,
    client: Client,
    settings: OrchestratorSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Session]:
    """A session; the histories of all its runs are replayed at the end."""
    session = Session(agents)
    _, worker = new_watch_worker(client, CallerLooks(client), settings)
    async with worker:
        yield session
    replayer = Replayer(workflows=[SessionWorkflow], data_converter=DATA_CONVERTER)
    async for run in client.list_workflows(f'WorkflowId = "{session.id}"'):
        each = client.get_workflow_handle(session.id, run_id=run.run_id)
        await replayer.replay_workflow(await each.fetch_history())


async def test_the_next_turn_knows_what_was_said(session: Session):
    first = await session.say("one")
    second = await session.say("two")
    third = await session.say("three")

    assert first.phase == second.phase == third.phase == "COMPLETED"
    assert session.heard(third) == [
        "u one",
        "m You said: one",
        "u two",
        "m You said: two",
        "u three",
    ]
    assert third.full.status.session_turn == 3
    # What an execution shows is its own.
    assert texts(third.full.status.messages) == ["u three", "m You said: three"]
    # No model call carries the conversation.
    [(_, type_, size)] = await third.scheduled()
    assert type_ == "converse"
    assert size < 1000
    shown = await session.show(full=True)
    assert (shown.id, shown.principal, shown.turns) == (session.name, "alice", 3)
    assert not shown.running
    assert len(shown.messages) == 6


async def test_turns_go_one_at_a_time_in_order_of_acceptance(session: Session):
    numbers: dict[str, int] = {}
    order: list[str] = []

    async def turn(index: int) -> None:
        execution_id = f"agent-{uuid.uuid4().hex}"
        numbers[execution_id] = await session.request(execution_id)
        handle = await session.launch(execution_id, f"turn {index}")
        await handle.result()
        order.append(execution_id)

    async with asyncio.TaskGroup() as group:
        for index in range(12):
            group.create_task(turn(index))

    in_order = sorted(numbers, key=numbers.__getitem__)
    assert sorted(numbers.values()) == list(range(1, 13))
    models = [each for each, _ in session.agents.model.conversations]
    assert models == in_order
    for index, execution_id in enumerate(in_order):
        assert len(session.agents.model.conversations[execution_id, 1]) == 2 * index + 1


async def test_a_failed_turn_leaves_nothing(session: Session):
    agents = session.agents
    failing = agents.agent(
        [answer(call(value=1)), ScriptStep(failure=ScriptFailure(reason=TOO_LONG))]
    )
    async with agents.tools_running():
        failed = await session.say("fail", failing)
    assert failed.phase == "FAILED CONTEXT_LENGTH"
    ended = await session.say("again")
    assert session.heard(ended) == ["u again"]
    assert (await session.show()).turns == 2


async def test_a_cancelled_turn_leaves_nothing_and_one_that_waits_gives_up_its_place(
    session: Session,
):
    agents = session.agents
    async with agents.tools_running():
        running = await session.start("stuck", agents.agent([answer(call(how="wait"))]))
        await agents.effects.began.wait()
        waiting = await session.start("waits")
        await eventually(lambda: phase_is(waiting, "PENDING"))
        after = await session.start("after")
        await waiting.cancel()
        assert (await agents.ended(waiting)).phase == "CANCELLED CANCELLED"
        assert (await session.show()).waiting == [after.id]
        await running.cancel()
        ended = await agents.ended(after)
    assert session.heard(ended) == ["u after"]


async def phase_is(handle: WorkflowHandle[AgentWorkflow, Any], phase: str) -> bool:
    return phase_of(await handle.query(AgentWorkflow.execution)) == phase


async def test_an_interrupt_stops_the_turn_after_its_step_and_keeps_what_it_finished(
    session: Session,
):
    agents = session.agents
    steps = [answer(call(how="wait", value="found")), answer(text="never said")]
    async with agents.tools_running():
        running = await session.start("search", agents.agent(steps))
        await agents.effects.began.wait()
        interrupting = await session.start("rather this", policy=SESSION_POLICY_INTERRUPT)
        await eventually(lambda: is_told(running))
        agents.effects.released.set()
        interrupted = await agents.ended(running)
        ended = await agents.ended(interrupting)
    assert interrupted.phase == "CANCELLED CANCELLED"
    assert session.heard(ended) == ["u search", "m calls act", "u result found", "u rather this"]


async def is_told(turn: WorkflowHandle[AgentWorkflow, Any]) -> bool:
    """Whether a turn that runs was told to stop."""
    signals = [
        event.workflow_execution_signaled_event_attributes.signal_name
        async for event in turn.fetch_history_events()
    ]
    return "interrupt" in signals


async def test_a_call_that_waits_for_a_person_is_not_kept_half(session: Session):
    agents = session.agents
    asking = agents.agent(
        [answer(call(value=1), text="May I?"), answer(text="done")], approval=None
    )
    running = await session.start("pay", asking)
    await eventually(lambda: phase_is(running, "INPUT_REQUIRED"))
    ended = await session.say("no, wait", policy=SESSION_POLICY_INTERRUPT)
    assert session.heard(ended) == ["u pay", "u no, wait"]


async def test_a_busy_session_rejects_who_wants_that(session: Session):
    agents = session.agents
    async with agents.tools_running():
        running = await session.start("stuck", agents.agent([answer(call(how="wait")), *ECHO]))
        await agents.effects.began.wait()
        with pytest.raises(ApiError, match="another execution of the session runs") as refused:
            await session.request("agent-x", SESSION_POLICY_REJECT)
        assert refused.value.code is grpc.StatusCode.ABORTED
        # A repetition of the one that runs is no other one.
        assert await session.request(running.id, SESSION_POLICY_REJECT) == 1
        agents.effects.released.set()
        await running.result()
    assert (await session.say("now", policy=SESSION_POLICY_REJECT)).phase == "COMPLETED"


async def test_a_full_session_refuses(session: Session):
    names = [f"agent-{uuid.uuid4().hex}" for _ in range(limits.MAX_WAITING_TURNS + 1)]
    numbers = await asyncio.gather(*map(session.request, names))
    assert sorted(numbers) == list(range(1, len(names) + 1))
    with pytest.raises(ApiError, match="100 executions wait for their turn") as refused:
        await session.request("agent-one-more")
    assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    await session.handle.terminate()


async def test_a_place_that_nobody_takes_is_given_up(
    session: Session, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "TURN_START_GRACE", timedelta(seconds=3))
    first, second = (f"agent-{uuid.uuid4().hex}" for _ in range(2))
    assert [await session.request(each) for each in (first, second)] == [1, 2]
    await session.agents.ended(await session.launch(second, "early"))
    # The first one, whose start was lost on the way, comes in the end: it gets the last place.
    ended = await session.agents.ended(await session.launch(first, "late"))
    assert session.heard(ended) == ["u early", "m You said: early", "u late"]
    assert ended.full.status.session_turn == 3


async def test_a_terminated_turn_gives_up_its_place(session: Session):
    step = answer(text="never")
    step.delay.FromSeconds(60)
    running = await session.start(
        "slow", AgentSpec(model="scripted:test", script=Script(steps=[step]))
    )
    next_one = await session.start("next")
    await eventually(lambda: has_begun(running))
    await running.terminate()
    ended = await session.agents.ended(next_one)
    assert session.heard(ended) == ["u next"]


async def has_begun(turn: WorkflowHandle[AgentWorkflow, Any]) -> bool:
    return (await turn.query(AgentWorkflow.execution)).status.session_turn > 0


async def test_a_session_that_is_not_used_ends(session: Session):
    session.idle_timeout = timedelta(seconds=1)
    await session.say("one")
    await eventually(lambda: is_over(session))
    assert session.heard(await session.say("two")) == ["u two"]


async def is_over(session: Session) -> bool:
    return (await session.handle.describe()).status == WorkflowExecutionStatus.COMPLETED


async def test_a_deleted_session_begins_anew_and_a_busy_one_is_not_deleted(session: Session):
    agents = session.agents
    async with agents.tools_running():
        running = await session.start("stuck", agents.agent([answer(call(how="wait")), *ECHO]))
        await agents.effects.began.wait()
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await session.handle.execute_update(SessionInterface.delete_session)
        assert isinstance(refused.value.cause, ApplicationError)
        assert refused.value.cause.type == UpdateRefusal.SESSION_BUSY
        agents.effects.released.set()
        await running.result()
    await session.handle.execute_update(SessionInterface.delete_session)
    assert await is_over(session)
    ended = await session.say("anew")
    assert session.heard(ended) == ["u anew"]
    assert ended.full.status.session_turn == 1


async def test_a_turn_whose_session_is_gone_says_so(session: Session):
    handle = await session.launch(f"agent-{uuid.uuid4().hex}", "hello")
    ended = await session.agents.ended(handle)
    assert ended.phase == "CANCELLED CANCELLED"
    assert "its session was deleted" in ended.execution.status.failure.message


async def test_an_agent_that_is_told_so_drops_old_turns_for_its_model(session: Session):
    one, two, three, four = (f"{word} " * 30 for word in ("one", "two", "three", "four"))
    for text in (one, two, three):
        await session.say(text)
    too_long = ScriptStep(
        failure=ScriptFailure(reason=TOO_LONG, min_bytes=800), text="You said: {message}"
    )
    agent = AgentSpec(
        model="scripted:test",
        script=Script(steps=[too_long]),
        context=ContextPolicy(keep_steps=1),
    )
    ended = await session.say(four, agent)
    dropped = "u [The first 2 turns of this conversation were dropped.]"
    assert session.heard(ended) == [
        dropped,
        f"u {three}",
        f"m You said: {three}",
        f"u {four}",
    ]
    # It stays so.
    ended = await session.say("five")
    assert session.heard(ended)[:2] == [dropped, f"u {three}"]
    assert (await session.show()).dropped_turns == 2


async def test_an_agent_that_says_so_fails_where_the_conversation_is_too_large(session: Session):
    large = "x" * (limits.MAX_SESSION_BYTES // 4)
    agent = AgentSpec(
        model="scripted:test",
        script=Script(steps=[answer(text="{message}")]),
        context=ContextPolicy(strategy=CONTEXT_STRATEGY_FAIL),
    )
    assert (await session.say(large, agent)).phase == "COMPLETED"
    assert (await session.say(large, agent)).phase == "FAILED TOO_LARGE"
    # Other agents of the session go on: by default they drop what is old.
    assert (await session.say(large)).phase == "COMPLETED"
    shown = await session.show()
    assert shown.dropped_turns == 1
    assert shown.conversation_bytes < limits.MAX_SESSION_BYTES


async def test_a_turn_that_continues_as_new_keeps_what_was_said(session: Session):
    await session.say("one")
    agents = session.agents
    large = agents.agent([*[answer(call(how="large", size=500_000))] * 11, *ECHO])
    large.tools[0].policy.max_result_bytes = 100
    async with agents.tools_running():
        ended = await session.say("two", large)
    assert ended.phase == "COMPLETED"
    await eventually(lambda: agents.has_runs(ended.handle.id, 2))
    assert session.heard(ended, 12)[:3] == ["u one", "m You said: one", "u two"]
    assert (await session.show()).turns == 2


async def test_a_session_that_continues_as_new_loses_nothing(
    session: Session, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "MAX_RUN_UPDATES", 4)
    numbers = await asyncio.gather(*(session.start(f"turn {index}") for index in range(10)))
    for handle in numbers:
        await handle.result()
    ended = await session.say("last")
    assert len(session.heard(ended)) == 21
    await eventually(lambda: session.agents.has_runs(session.id, 3))
