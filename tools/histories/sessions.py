"""Sessions: turns of one conversation, in order, and what ends them."""

from __future__ import annotations

import contextlib

import grpc.aio

from stigma.agent.v1.agent_execution_pb2 import (
    SESSION_POLICY_ENQUEUE,
    SESSION_POLICY_INTERRUPT,
    SESSION_POLICY_REJECT,
)
from stigma.agent.v1.agent_execution_service_pb2 import InputAnswer
from stigma.agent.v1.agent_session_service_pb2 import DeleteAgentSessionRequest
from stigma.agent.v1.agent_session_service_pb2_grpc import AgentSessionServiceStub
from tools.histories.agents import DONE, Agents, agent, call, calls
from tools.histories.people import ASK
from tools.histories.scenario import Recorder, Scenario

SAYS = agent({"text": "you said {message}"})
ASKS = agent(calls(call("ask", question="How many?")), DONE, tools=[ASK])


async def _delete(record: Recorder, session_id: str) -> None:
    sessions = AgentSessionServiceStub(record.stack.channel)
    await sessions.DeleteAgentSession(DeleteAgentSessionRequest(id=session_id))


async def session(record: Recorder) -> None:
    """A turn that waits for people, two that wait for it, and one that is refused."""
    agents, session_id = Agents(record.stack), "recorded"
    first = await agents.start(ASKS, session_id=session_id)
    [found] = await agents.pending(first)
    enqueued = [
        await agents.start(
            SAYS, f"m{number}", session_id=session_id, session_policy=SESSION_POLICY_ENQUEUE
        )
        for number in range(2)
    ]
    with contextlib.suppress(grpc.aio.AioRpcError):
        await agents.start(SAYS, session_id=session_id, session_policy=SESSION_POLICY_REJECT)
        raise AssertionError("a session that is busy takes no turn with REJECT")
    await agents.submit(found, reply=InputAnswer(text="three"))
    for number, execution_id in enumerate((first, *enqueued), start=1):
        await record.agent(f"session-turn-{number}", execution_id)
    await _delete(record, session_id)
    await record.session("session", session_id)


async def session_interrupted(record: Recorder) -> None:
    """A turn ends the one before it, which waits for people; it is long enough to be watched."""
    agents, session_id = Agents(record.stack), "interrupted"
    first = await agents.start(ASKS, session_id=session_id)
    await agents.pending(first)
    second = await agents.start(
        SAYS, "now", session_id=session_id, session_policy=SESSION_POLICY_INTERRUPT
    )
    await record.agent("session-interrupted-turn", first)
    await record.agent("session-interrupting-turn", second)
    await _delete(record, session_id)
    await record.session("session-interrupted", session_id)


async def session_watched(record: Recorder) -> None:
    """A turn takes so long that the session looks whether it is still there."""
    agents, session_id = Agents(record.stack), "watched"
    slow = agent({"text": "at last", "delay": "4s"})
    await record.agent("session-slow-turn", await agents.start(slow, session_id=session_id))
    await _delete(record, session_id)
    await record.session("session-watched", session_id)


async def session_continued_as_new(record: Recorder) -> None:
    """A session of many turns goes on in another run, with what was said before."""
    agents, session_id = Agents(record.stack), "long"
    turns = [await agents.start(SAYS, f"m{number}", session_id=session_id) for number in range(10)]
    for execution_id in turns:
        await record.site.outcome(execution_id)
    await record.agent("session-long-last-turn", turns[-1])
    await _delete(record, session_id)
    await record.session("session-long", session_id)
    assert record.runs("session-long.session") > 1


SCENARIOS = (
    Scenario(session, ("session: ENQUEUE", "session: REJECT", "session deleted")),
    Scenario(session_interrupted, ("session: INTERRUPT",)),
    Scenario(session_watched, ("watch of a turn",)),
    Scenario(session_continued_as_new, ("session continued as new",)),
)
