"""Agents wait for people: approvals, questions, tools of clients, messages, on the real server."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.worker import Worker

from services.stigma_orchestrator.tests.tool_agents import (
    LAST,
    NO_APPROVAL,
    ToolAgents,
    answer,
    call,
    new_policy,
    tool,
)
from services.stigma_orchestrator.tests.waiting_agents import People, policy, refusal_of, rule
from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_INPUT_REQUIRED,
    INPUT_RESOLUTION_KIND_APPROVED,
    AgentExecution,
)
from stigma.agent.v1.agent_execution_service_pb2 import (
    InputAnswer,
    SubmitAgentInputRequest,
)
from stigma.agent.v1.agent_pb2 import (
    APPROVAL_EXPIRY_FAIL,
    APPROVAL_REQUIREMENT_NEVER,
    APPROVAL_REQUIREMENT_REFUSE,
    AgentLimits,
    ApprovalPolicy,
    ClientTool,
    QuestionTool,
    Tool,
)
from stigma.contracts import limits, search_attributes
from stigma.internal.v1.execution_pb2 import SubmitInput
from stigma_orchestrator.agents.workflow import AgentWorkflow
from tests.stack.waiting import eventually
from zigflow_worker.activities.rules import RuleEvaluator

NEVER = {"require": APPROVAL_REQUIREMENT_NEVER}
ASK = Tool(name="ask", question=QuestionTool())
OPEN_DOOR = Tool(name="open_door", client=ClientTool())


@pytest.fixture
async def rules(agents: ToolAgents) -> AsyncIterator[None]:
    """The engine's worker, as far as it evaluates rules."""
    evaluator = RuleEvaluator()
    async with Worker(
        agents.client, task_queue=agents.queues.engine, activities=[evaluator.evaluate_rules]
    ):
        yield


async def start(agents: ToolAgents, *steps: Any, tools: Any = (), **fields: Any) -> People:
    """Start an agent; whoever answers it is returned."""
    fields.setdefault("approval", policy(rule()))
    return People(await agents.start(agents.agent(steps, *tools, **fields)))


@pytest.mark.tools_contract("a call without a rule waits for an approval")
async def test_a_call_without_a_rule_waits_for_its_approval(agents: ToolAgents) -> None:
    people = await start(agents, answer(call(value=1)), LAST, approval=ApprovalPolicy())
    [found] = await people.pending()
    assert (found.id, found.call_id, found.tool) == ("approval-1-1", "1-1", "act")
    assert json.loads(found.arguments_json) == {"value": 1}
    execution = await people.handle.query(AgentWorkflow.execution)
    assert execution.status.phase == AGENT_EXECUTION_PHASE_INPUT_REQUIRED
    assert not agents.effects.calls
    async with agents.tools_running():
        resolution = await people.approve(found)
        ended = await agents.ended(people.handle)
    assert (resolution.how, resolution.by) == (INPUT_RESOLUTION_KIND_APPROVED, "bob")
    assert (ended.text, agents.effects.calls) == ("done: 1", [{"value": 1}])
    assert not ended.full.status.pending_inputs


async def test_what_is_waited_for_is_in_memo_and_search_attributes(agents: ToolAgents) -> None:
    people = await start(agents, answer(call(value=1), call(value=2)), LAST)
    first, second = await people.pending(2)
    described = await people.handle.describe()
    attributes = described.typed_search_attributes
    assert attributes.get(search_attributes.PHASE) == "INPUT_REQUIRED"
    assert attributes.get(search_attributes.WAITING_SINCE) is not None
    memo = await described.memo_value("pending_inputs")
    assert [each.id for each in memo.inputs] == ["approval-1-1", "approval-1-2"]
    assert not any(each.arguments_json for each in memo.inputs)
    await people.deny(first)
    await people.deny(second)
    await agents.ended(people.handle)
    attributes = (await people.handle.describe()).typed_search_attributes
    assert attributes.get(search_attributes.PHASE) is None
    assert attributes.get(search_attributes.WAITING_SINCE) is None


@pytest.mark.tools_contract("a denied call is not made")
async def test_a_denied_call_is_not_made_and_the_model_is_told_why(agents: ToolAgents) -> None:
    people = await start(agents, answer(call(value=1)), answer(text="{results}"))
    [found] = await people.pending()
    await people.deny(found, "too dear")
    async with agents.tools_running():
        ended = await agents.ended(people.handle)
    assert ended.outcomes == ["REFUSED"]
    assert "a person denied it. They say: too dear" in ended.text
    assert not agents.effects.calls


ORDERS = pytest.mark.parametrize("order", list(itertools.permutations(range(3))))


@pytest.mark.tools_contract("calls of a batch wait for no other one's approval")
@ORDERS
async def test_calls_of_a_batch_wait_for_no_other_approval(
    agents: ToolAgents, order: tuple[int, ...]
) -> None:
    free, gated = tool("free"), tool("gated")
    calls = [
        call("gated", value="a"),
        call("free", value="b"),
        call("gated", value="c"),
        call("free", value="d"),
        call("gated", value="e"),
    ]
    people = await start(
        agents,
        answer(*calls),
        LAST,
        tools=[free, gated],
        approval=policy(rule("free", **NEVER), rule("gated")),
    )
    async with agents.tools_running():
        found = await people.pending(3)
        await eventually(lambda: len(agents.effects.calls) == 2)
        for number, index in enumerate(order):
            await people.approve(found[index])
            await eventually(partial(_has_made, agents, number + 3))
        ended = await agents.ended(people.handle)
    assert ended.text == "done: a\nb\nc\nd\ne"
    assert [result.call_id for result in ended.results] == [f"1-{n}" for n in range(1, 6)]


def _has_made(agents: ToolAgents, calls: int) -> bool:
    return len(agents.effects.calls) == calls


@pytest.mark.tools_contract("of two answers at once one is taken")
async def test_of_two_answers_at_once_one_is_taken(agents: ToolAgents) -> None:
    people = await start(agents, answer(call(value=1)), answer(text="{results}"))
    [found] = await people.pending()
    answers = await asyncio.gather(
        people.approve(found, principal="ann"),
        people.deny(found, principal="ben"),
        return_exceptions=True,
    )
    refused = [each for each in answers if isinstance(each, WorkflowUpdateFailedError)]
    assert [refusal_of(each) for each in refused] == ["INPUT_RESOLVED"]
    async with agents.tools_running():
        ended = await agents.ended(people.handle)
    denied = isinstance(answers[0], WorkflowUpdateFailedError)
    assert ended.outcomes == ["REFUSED" if denied else "OK"]


@pytest.mark.tools_contract("an answer that is repeated has the same reply")
async def test_a_repeated_answer_has_the_same_reply(agents: ToolAgents) -> None:
    people = await start(agents, answer(call(value=1)), answer(call(value=2)), LAST)
    [found] = await people.pending()
    first = await people.approve(found, request_id="r-1")
    async with agents.tools_running():
        [_, second] = [found, *(await people.pending())]
        assert await people.approve(found, request_id="r-1") == first
        await people.approve(second)
        await agents.ended(people.handle)
    assert agents.effects.calls == [{"value": 1}, {"value": 2}]


@pytest.mark.parametrize(
    ("fields", "answered", "refusal"),
    [
        ({}, {"digest": "0" * 64}, "DIGEST_MISMATCH"),
        ({}, {"digest": ""}, "DIGEST_MISMATCH"),
        pytest.param(
            {"not_starter": True},
            {"principal": "alice"},
            "SELF_APPROVAL",
            marks=pytest.mark.tools_contract("who started it may not approve"),
        ),
        pytest.param(
            {"approvers": ["lead-*"]},
            {},
            "NOT_AN_APPROVER",
            marks=pytest.mark.tools_contract("only approvers approve"),
        ),
        ({}, {"arguments_json": "{}"}, "ANSWER_NOT_ALLOWED"),
        ({}, {"remember": True}, "ANSWER_NOT_ALLOWED"),
    ],
)
async def test_an_answer_that_the_rule_does_not_allow_changes_nothing(
    agents: ToolAgents, fields: Any, answered: Any, refusal: str
) -> None:
    people = await start(agents, answer(call(value=1)), LAST, approval=policy(rule(**fields)))
    [found] = await people.pending()
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await people.approve(found, **answered)
    assert refusal_of(refused.value) == refusal
    assert await people.pending() == [found]
    await people.deny(found, principal="lead-1")
    await agents.ended(people.handle)


async def test_answers_are_of_the_kind_that_is_asked_for(agents: ToolAgents) -> None:
    people = await start(agents, answer(call("ask", question="Why?")), LAST, tools=[ASK])
    [question] = await people.pending()
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await people.approve(question)
    assert refusal_of(refused.value) == "ANSWER_NOT_ALLOWED"
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await people.handle.execute_update(
            AgentWorkflow.submit_input, _unknown_input(people), id="unknown"
        )
    assert refusal_of(refused.value) == "INPUT_NOT_FOUND"
    await people.reply(question, "Because.")
    ended = await agents.ended(people.handle)
    assert ended.text == "done: Because."


def _unknown_input(people: People) -> SubmitInput:
    request = SubmitAgentInputRequest(id=people.handle.id, input_id="approval-9-9")
    return SubmitInput(request=request, principal="bob", update_id="unknown")


@pytest.mark.tools_contract("a rule whose expression fails asks for an approval")
@pytest.mark.parametrize(
    ("when", "waits"),
    [
        (".arguments.amount > 100", True),
        (".arguments.amount > 1000", False),
        ('.tool == "act" and .principal == "alice" and .agent == "helper@3"', True),
        ('.labels.team == "red" and .usage.tool_calls == 1', True),
        (".arguments.amount | error", True),
        ("[range(1000000)] | length > 0", True),
        ("$ENV.HOME", True),
        ("not jq", True),
    ],
)
@pytest.mark.usefixtures("rules")
async def test_a_rule_is_for_the_calls_that_its_expression_says(
    agents: ToolAgents, when: str, waits: bool
) -> None:
    people = People(
        await agents.start(
            agents.agent(
                [answer(call(amount=500, value=1)), LAST],
                approval=policy(rule(when=when), rule(**NEVER)),
            ),
            spec={"labels": {"team": "red"}},
        )
    )
    async with agents.tools_running():
        if waits:
            [found] = await people.pending()
            await people.approve(found)
        ended = await agents.ended(people.handle)
    assert ended.outcomes == ["OK"]


async def test_a_rule_that_no_engine_evaluates_asks_people(agents: ToolAgents) -> None:
    gate = policy(rule(when="true", **NEVER))
    people = await start(agents, answer(call(value="x" * 1_048_500)), LAST, approval=gate)
    [found] = await people.pending()  # too large to be evaluated
    await people.deny(found)
    assert (await agents.ended(people.handle)).outcomes == ["REFUSED"]


@pytest.mark.tools_contract("a rule refuses calls")
async def test_a_rule_refuses_calls(agents: ToolAgents) -> None:
    ended = await agents.run(
        answer(call(value=1), call("ask", question="Why?")),
        LAST,
        tools=[tool(), ASK],
        approval=policy(rule(require=APPROVAL_REQUIREMENT_REFUSE)),
    )
    assert ended.outcomes == ["REFUSED", "REFUSED"]
    assert "a rule of this agent does not allow it" in ended.text


@pytest.mark.tools_contract("an approval may change the arguments, and the model is told")
async def test_an_approval_changes_the_arguments_and_the_model_is_told(agents: ToolAgents) -> None:
    people = await start(
        agents, answer(call(value=1)), LAST, approval=policy(rule(allow_edit=True))
    )
    [found] = await people.pending()
    assert json.loads(found.schema)["type"] == "object"
    async with agents.tools_running():
        resolution = await people.approve(found, arguments_json='{"value": 2}')
        ended = await agents.ended(people.handle)
    assert agents.effects.calls == [{"value": 2}]
    told = '[A person changed the arguments of this call: {"value": 2}]\n2'
    assert ended.text == f"done: {told}"
    assert resolution.edited_digest not in {"", resolution.arguments_digest}


@pytest.mark.tools_contract("an approval may be for further calls")
async def test_a_remembered_approval_is_for_this_tool_and_its_rule(agents: ToolAgents) -> None:
    people = await start(
        agents,
        answer(call(value=1)),
        answer(call(value=2)),
        answer(call("other", value=3)),
        LAST,
        tools=[tool(), tool("other")],
        approval=policy(rule(allow_remember=True)),
    )
    [first] = await people.pending()
    async with agents.tools_running():
        await people.approve(first, remember=True)
        [other] = await people.pending()
        assert other.tool == "other"
        await people.approve(other)
        await agents.ended(people.handle)
    assert [each["value"] for each in agents.effects.calls] == [1, 2, 3]


@pytest.mark.tools_contract("an expired approval is a denial")
async def test_an_expired_approval_is_a_denial(agents: ToolAgents) -> None:
    people = await start(
        agents,
        answer(call(value=1), call("ask", question="Still there?")),
        answer(text="{results}"),
        tools=[tool(), ASK],
        approval=policy(rule(expire_after=5)),
    )
    [approval, question] = await people.pending(2)
    await people.pending(1)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await people.approve(approval)
    assert refusal_of(refused.value) == "INPUT_EXPIRED"
    await people.reply(question, "Yes.")
    ended = await agents.ended(people.handle)
    assert ended.outcomes == ["REFUSED", "OK"]
    assert "nobody approved it in time" in ended.text


@pytest.mark.tools_contract("an expired approval may fail the execution")
async def test_an_expired_approval_may_fail_the_execution(agents: ToolAgents) -> None:
    gate = policy(rule(expire_after=0.2, on_expiry=APPROVAL_EXPIRY_FAIL))
    ended = await agents.run(answer(call(value=1)), LAST, approval=gate)
    assert ended.phase == "FAILED INPUT_EXPIRED"
    failure = ended.execution.status.failure
    assert (failure.step, failure.message) == (
        "tool_call 1-1",
        "nobody approved the call of act within 0.2 s",
    )


@pytest.mark.tools_contract("questions and tools of clients are answered")
async def test_questions_and_client_tools_are_answered(agents: ToolAgents) -> None:
    question = call("ask", question="How many?", schema={"type": "integer"})
    people = await start(
        agents, answer(question, call("open_door", door=4)), LAST, tools=[ASK, OPEN_DOOR]
    )
    [asked, door] = await people.pending(2)
    assert (asked.question, json.loads(asked.schema)) == ("How many?", {"type": "integer"})
    assert json.loads(door.arguments_json) == {"door": 4}
    await people.submit(door, reply=InputAnswer(json='{"open":true}'))
    await people.submit(asked, reply=InputAnswer(json="3"), digest="")
    ended = await agents.ended(people.handle)
    assert ended.text == 'done: 3\n{"open":true}'


async def test_nobody_answers(agents: ToolAgents) -> None:
    brief = new_policy(timeout=0.3)
    people = await start(
        agents,
        answer(
            call("ask", question="A?"),
            call("open_door"),
            call("brief", question="B?"),
            call("brief_door"),
        ),
        LAST,
        tools=[
            ASK,
            OPEN_DOOR,
            Tool(name="brief", question=QuestionTool(), policy=brief),
            Tool(name="brief_door", client=ClientTool(), policy=brief),
        ],
    )
    question, door = await people.asked_by("ask", "open_door")
    await people.decline(question, "on holiday")
    await people.decline(door)
    ended = await agents.ended(people.handle)
    assert ended.outcomes == ["NOT_RUN", "NOT_RUN", "NOT_RUN", "UNKNOWN"]
    assert ended.results[0].content == "Nobody will answer. They say: on holiday"


@pytest.mark.tools_contract("messages are read in order, before the agent ends")
async def test_messages_are_read_before_the_next_model_call_in_order(agents: ToolAgents) -> None:
    people = await start(agents, answer(call(value=1)), answer(text="all read"))
    [found] = await people.pending()
    await people.send("first", "m-1")
    await people.send("second")
    await people.send("first", "m-1")  # a repetition
    async with agents.tools_running():
        await people.approve(found)
        ended = await agents.ended(people.handle)
    told = agents.model.conversations[people.handle.id, 2]
    assert [part.text for message in told[-2:] for part in message.parts] == ["first", "second"]
    assert list(ended.full.status.messages)[: len(told)] == told


@pytest.mark.tools_contract("messages are read in order, before the agent ends")
async def test_an_agent_reads_its_messages_before_it_ends(agents: ToolAgents) -> None:
    people = await start(
        agents,
        answer(call(value=1)),
        answer(text="an early answer"),
        answer(text="a better answer"),
        approval=NO_APPROVAL,
    )
    agents.model.hold(2)
    async with agents.tools_running():
        await eventually(lambda: (people.handle.id, 2) in agents.model.conversations)
        await people.send("Think again.")
        agents.model.release()
        ended = await agents.ended(people.handle)
    assert ended.text == "a better answer"
    told = agents.model.conversations[people.handle.id, 3]
    assert [part.text for part in told[-1].parts] == ["Think again."]
    assert list(ended.full.status.messages)[: len(told)] == told


async def test_only_so_many_messages_wait(agents: ToolAgents) -> None:
    people = await start(agents, answer(call(value=1)), LAST)
    [found] = await people.pending()
    for number in range(limits.MAX_SENT_MESSAGES):
        await people.send(f"{number}")
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await people.send("one too many")
    assert refusal_of(refused.value) == "TOO_MANY_MESSAGES"
    await people.deny(found)
    await agents.ended(people.handle)


async def test_a_message_after_the_step_limit_does_not_spoil_the_answer(agents: ToolAgents) -> None:
    agents.model.hold()
    people = await start(agents, answer(text="the answer"), limits=AgentLimits(steps=1))
    await eventually(lambda: (people.handle.id, 1) in agents.model.conversations)
    await people.send("Think again.")
    agents.model.release()
    ended = await agents.ended(people.handle)
    assert (ended.phase, ended.text) == ("COMPLETED", "the answer")


@pytest.mark.tools_contract("a stop after the step")
async def test_an_agent_stops_after_its_step(agents: ToolAgents) -> None:
    people = await start(
        agents,
        answer(call("free", how="wait", value=1), call(value=2), text="on it"),
        LAST,
        tools=[tool("free"), tool()],
        approval=policy(rule("free", **NEVER), rule()),
    )
    async with agents.tools_running():
        await people.pending()
        await agents.effects.began.wait()
        await people.handle.execute_update(AgentWorkflow.stop_after_step, "enough", id="stop")
        agents.effects.released.set()
        ended = await agents.ended(people.handle)
    assert ended.phase == "CANCELLED CANCELLED"
    assert ended.execution.status.failure.message == "enough"
    assert ended.text == "on it"
    assert [each["value"] for each in agents.effects.calls] == [1]


@pytest.mark.tools_contract("what stops an execution ends its waiting")
@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_what_stops_an_execution_ends_its_waiting(agents: ToolAgents, how: str) -> None:
    agent = agents.agent([answer(call(value=1)), LAST], approval=policy(rule()))
    people = People(await agents.start(agent, timeout=60 if how == "cancel" else 5))
    [found] = await people.pending()
    if how == "cancel":
        await people.handle.cancel()
    ended = await agents.ended(people.handle)
    assert ended.phase == ("CANCELLED CANCELLED" if how == "cancel" else "TIMED_OUT DEADLINE")
    assert not ended.full.status.pending_inputs
    with pytest.raises(Exception, match="already completed"):
        await people.approve(found)
    started = [
        event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
        async for event in people.handle.fetch_history_events()
        if event.HasField("timer_started_event_attributes")
    ]
    assert max(started) > timedelta(minutes=1), "the input would expire after the deadline"


async def test_sequential_calls_run_alone_whenever_they_are_approved(agents: ToolAgents) -> None:
    alone, free = tool("alone", policy={"sequential": True}), tool("free")
    people = await start(
        agents,
        answer(call("alone", value="a"), call("free", value="b"), call("alone", value="c")),
        LAST,
        tools=[alone, free],
        approval=policy(rule("free", **NEVER), rule()),
    )
    async with agents.tools_running():
        first, third = await people.pending(2)
        await eventually(lambda: agents.effects.order == ["+b", "-b"])
        await people.approve(third)
        await eventually(lambda: agents.effects.order[-1] == "-c")
        await people.approve(first)
        ended = await agents.ended(people.handle)
    assert agents.effects.order == ["+b", "-b", "+c", "-c", "+a", "-a"]
    assert ended.text == "done: a\nb\nc"


async def continued_as_new(people: People, message: str) -> None:
    """Wait until the run whose history is large has continued as new.

    Temporal counts a large result one workflow task late. Of two messages, the second (`m-1`) has a
    task of its own for sure.
    """

    async def all_ended() -> bool:
        return not (await people.handle.describe()).raw_description.pending_activities

    async def is_continued() -> bool:
        return (await people.handle.describe()).run_id != people.handle.result_run_id

    await eventually(all_ended, what="the end of the calls")
    await people.send("Still there?")
    await people.send(message, "m-1")
    await eventually(is_continued, what="continue-as-new")


@pytest.mark.tools_contract("continue-as-new carries what is waited for")
async def test_continue_as_new_carries_what_is_waited_for(agents: ToolAgents) -> None:
    large = [call("free", how="large", size=1_500_000) for _ in range(3)]
    people = await start(
        agents,
        answer(call(value="v"), *large, call("ask", question="Why?"), call(value="w")),
        LAST,
        tools=[tool(), tool("free"), ASK],
        approval=policy(rule("free", **NEVER), rule(allow_remember=True)),
    )
    async with agents.tools_running():
        await people.pending(3)
        await continued_as_new(people, "One more thing.")
        first, question, last = await people.pending(3)
        await people.send("One more thing.", "m-1")
        described = await people.handle.describe()
        assert described.typed_search_attributes.get(search_attributes.PHASE) == "INPUT_REQUIRED"
        assert len((await described.memo_value("pending_inputs")).inputs) == 3
        await people.deny(last, "not this one")
        await people.reply(question, "Because.")
        await people.approve(first)
        ended = await agents.ended(people.handle)
    assert ended.phase == "COMPLETED"
    assert ended.outcomes == ["OK"] * 5 + ["REFUSED"]
    assert [result.call_id for result in ended.results] == [f"1-{n}" for n in range(1, 7)]
    assert ended.results[4].content == "Because."
    told = agents.model.conversations[people.handle.id, 2]
    assert [part.text for part in told[-1].parts] == ["One more thing."]
    assert list(ended.full.status.messages)[: len(told)] == told
    assert sum(each.get("value") == "v" for each in agents.effects.calls) == 1


@pytest.mark.tools_contract("continue-as-new carries what is waited for")
async def test_continue_as_new_keeps_the_rules_of_an_approval(agents: ToolAgents) -> None:
    large = [call("free", how="large", size=1_500_000) for _ in range(3)]
    people = await start(
        agents,
        answer(call(value="v"), *large),
        LAST,
        tools=[tool(), tool("free")],
        approval=policy(
            rule("free", **NEVER),
            rule(approvers=["lead-*"], not_starter=True, allow_edit=True, allow_remember=True),
        ),
    )
    async with agents.tools_running():
        [before] = await people.pending()
        await continued_as_new(people, "Are you?")
        [after] = await people.pending()
        assert after == before
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await people.approve(after)
        assert refusal_of(refused.value) == "NOT_AN_APPROVER"
        await people.approve(after, principal="lead-1", arguments_json='{"value": "w"}')
        ended = await agents.ended(people.handle)
    assert ended.results[0].content.endswith('{"value": "w"}]\nw')
    told = agents.model.conversations[people.handle.id, 2]
    assert list(ended.full.status.messages)[: len(told)] == told


async def test_a_reset_asks_again_or_knows_the_answer(agents: ToolAgents) -> None:
    """Reset to the beginning: what people said is taken anew, or asked for anew."""
    people = await start(
        agents, answer(call("ask", question="Why?")), answer(text="{results}"), tools=[ASK]
    )
    [question] = await people.pending()
    await people.reply(question, "Because.")
    ended = await agents.ended(people.handle)
    assert ended.text == "Because."
    first_task = 4
    reset = await agents.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=agents.client.namespace,
            workflow_execution=WorkflowExecution(
                workflow_id=people.handle.id, run_id=people.handle.result_run_id or ""
            ),
            reason="to see what happens",
            workflow_task_finish_event_id=first_task,
            request_id="reset",
        )
    )
    again = agents.client.get_workflow_handle(people.handle.id, run_id=reset.run_id)
    repeated = People(again)

    async def is_over() -> bool:
        described = await again.describe()
        if described.status != WorkflowExecutionStatus.RUNNING:
            return True
        pending = (await again.query(AgentWorkflow.pending_inputs, "")).inputs
        if pending:
            await repeated.reply(pending[0], "Because.")
        return False

    await eventually(is_over)
    once_more = await agents.ended(again)
    assert once_more.text == "Because."
    told = agents.model.conversations[people.handle.id, 2]
    assert list(once_more.full.status.messages)[: len(told)] == told


async def test_executions_of_agents_without_tools_take_no_messages(agents: ToolAgents) -> None:
    agents.model.hold()
    agent = agents.agent([answer(text="hm")])
    del agent.tools[:]
    people = People(await agents.start(agent))
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await people.send("Hello?")
    assert refusal_of(refused.value) == "MESSAGES_NOT_TAKEN"
    assert not (await people.handle.query(AgentWorkflow.pending_inputs)).inputs
    agents.model.release()
    execution: AgentExecution = await people.handle.result()
    assert execution.status.output.text == "hm"
