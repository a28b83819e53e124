"""Agents call agents: executions of their own, within one budget, on the real server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from services.stigma_orchestrator.tests.tool_agents import (
    NO_APPROVAL,
    Ended,
    ToolAgents,
    answer,
    call,
    tool,
)
from services.stigma_orchestrator.tests.waiting_agents import People, policy, rule
from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_pb2 import (
    Agent,
    AgentLimits,
    AgentSpec,
    AgentTool,
    Script,
    ScriptStep,
    ScriptUsage,
    Tool,
)
from stigma.contracts import search_attributes
from stigma.internal.v1.execution_pb2 import Lineage, SubAgent
from stigma_orchestrator.agents.workflow import AgentWorkflow
from tests.stack.waiting import eventually

DONE = answer(text="{results}")


def delegate(name: str, to: str = "", **fields: Any) -> Tool:
    """A tool that is another agent."""
    return Tool(name=name, agent=AgentTool(agent=to or name, budget=fields.pop("budget", None)))


class Tree:
    """A root agent and those that its tools lead to."""

    def __init__(self, agents: ToolAgents) -> None:
        self._agents = agents
        self._found: dict[str, SubAgent] = {}

    def add(self, name: str, *steps: ScriptStep, tools: Sequence[Tool] = (), **fields: Any) -> None:
        """Register an agent; without tools it is the kind that 0.1.0 knows."""
        spec = self._agents.agent(steps, *tools, **fields)
        if not tools:
            spec = AgentSpec(model="scripted:test", script=Script(steps=steps), **fields)
        self._found[name] = SubAgent(agent=Agent(name=name, version=2, spec=spec))

    async def start(
        self,
        *steps: ScriptStep,
        tools: Sequence[Tool],
        lineage: Lineage | None = None,
        timeout: float = 60,
        **fields: Any,
    ) -> WorkflowHandle[AgentWorkflow, AgentExecution]:
        """Start the root."""
        agent = self._agents.agent(steps, *tools, **fields)
        more: dict[str, Any] = {"lineage": lineage} if lineage else {}
        return await self._agents.start(agent, timeout=timeout, sub_agents=self._found, **more)

    async def run(self, *steps: ScriptStep, **fields: Any) -> Ended:
        """Run the root to its end."""
        return await self._agents.ended(await self.start(*steps, **fields))


@pytest.fixture
def tree(agents: ToolAgents) -> Tree:
    return Tree(agents)


@pytest.mark.tools_contract("an agent calls agents")
@pytest.mark.parametrize("count", [1, 3, 20])
async def test_agents_are_called(agents: ToolAgents, tree: Tree, count: int) -> None:
    tree.add("echo", answer(text="I heard {message}", usage=ScriptUsage(input_tokens=7)))
    calls = [call("echo", message=f"m{n}") for n in range(count)]
    ended = await tree.run(answer(*calls), DONE, tools=[delegate("echo")])
    assert ended.text == "\n".join(f"I heard m{n}" for n in range(count))
    usage = ended.execution.status.usage
    assert (usage.sub_agents, usage.model_calls) == (count, count + 2)
    assert usage.input_tokens >= 7 * count
    told = agents.model.conversations[ended.handle.id, 2]
    assert list(ended.full.status.messages)[: len(told)] == told


@pytest.mark.tools_contract("an agent calls agents")
async def test_a_child_is_an_execution_of_its_own(agents: ToolAgents, tree: Tree) -> None:
    tree.add("worker", answer(call(value=5)), DONE, tools=[tool()])
    tree.add("boss", answer(call("worker", message="go")), DONE, tools=[delegate("worker")])
    async with agents.tools_running():
        ended = await tree.run(answer(call("boss", message="go")), DONE, tools=[delegate("boss")])
    assert ended.text == "5"
    assert ended.execution.status.usage.sub_agents == 2
    boss, worker = f"{ended.handle.id}-1-1", f"{ended.handle.id}-1-1-1-1"
    handle = agents.client.get_workflow_handle(worker)
    described = await handle.describe()
    attributes = described.typed_search_attributes
    assert attributes.get(search_attributes.ROOT) == ended.handle.id
    assert attributes.get(search_attributes.PARENT) == boss
    assert attributes.get(search_attributes.AGENT) == "worker"
    assert attributes.get(search_attributes.PRINCIPAL) == "alice"
    memo = await described.memo_value("execution", type_hint=AgentExecution)
    assert (memo.status.root, memo.status.parent) == (ended.handle.id, boss)
    assert not memo.spec.message
    execution = await handle.query("execution", result_type=AgentExecution)
    assert execution.spec.agent_id == "worker@2"
    assert agents.effects.headers[0]["execution"] == worker


@pytest.mark.tools_contract("a failed agent is a result")
async def test_a_failure_is_a_result_with_its_reason(tree: Tree) -> None:
    tree.add("loop", answer(text="…", pause=True), limits=AgentLimits(steps=2))
    ended = await tree.run(answer(call("loop", message="go")), DONE, tools=[delegate("loop")])
    assert ended.outcomes == ["ERROR"]
    assert "STEP_LIMIT: no answer within 2 model calls" in ended.text
    assert ended.execution.status.usage.model_calls == 4


@pytest.mark.tools_contract("the budget of a tree of agents")
async def test_a_child_has_its_share_of_what_is_left(agents: ToolAgents, tree: Tree) -> None:
    tree.add("greedy", answer(text="…", pause=True))
    ended = await tree.run(
        answer(call("greedy", message="a"), call("greedy", message="b")),
        DONE,
        tools=[delegate("greedy")],
        limits=AgentLimits(steps=10),
    )
    # 10, less one for the first answer and one for the next: four each.
    assert ended.text.count("no answer within 4 model calls") == 2
    assert ended.execution.status.usage.model_calls == 10
    assert ended.phase == "COMPLETED"


@pytest.mark.tools_contract("the budget of a tree of agents")
async def test_without_anything_left_no_agent_starts(tree: Tree) -> None:
    tree.add("echo", answer(text="hi"))
    ended = await tree.run(
        answer(call("echo", message="a"), call("echo", message="b")),
        DONE,
        tools=[delegate("echo")],
        limits=AgentLimits(steps=3),
    )
    assert sorted(ended.outcomes) == ["NOT_RUN", "OK"]
    assert "STEP_LIMIT: no model calls are left" in ended.text


@pytest.mark.tools_contract("agents call agents only so deep, and so often")
@pytest.mark.parametrize(
    ("lineage", "reason"),
    [
        (Lineage(depth_left=0, sub_agents=9), "DEPTH_LIMIT"),
        (Lineage(depth_left=1, sub_agents=0), "CHILD_LIMIT"),
    ],
)
async def test_depth_and_number_are_limited(tree: Tree, lineage: Lineage, reason: str) -> None:
    tree.add("echo", answer(text="hi"))
    ended = await tree.run(
        answer(call("echo", message="a")), DONE, tools=[delegate("echo")], lineage=lineage
    )
    assert ended.outcomes == ["NOT_RUN"]
    assert ended.text.startswith(reason)


@pytest.mark.tools_contract("agents call agents only so deep, and so often")
async def test_an_agent_that_calls_itself_comes_to_an_end(tree: Tree) -> None:
    tree.add("mirror", answer(call("mirror", message="on")), DONE, tools=[delegate("mirror")])
    ended = await tree.run(answer(call("mirror", message="go")), DONE, tools=[delegate("mirror")])
    assert ended.phase == "COMPLETED"
    assert ended.execution.status.usage.sub_agents == 5
    assert "DEPTH_LIMIT" in ended.text


@pytest.mark.tools_contract("what stops an agent stops those below it")
@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_a_stop_reaches_all_before_the_root_ends(
    agents: ToolAgents, tree: Tree, how: str
) -> None:
    tree.add("worker", answer(call(how="wait")), DONE, tools=[tool()])
    tree.add("boss", answer(call("worker", message="go")), DONE, tools=[delegate("worker")])
    async with agents.tools_running():
        handle = await tree.start(
            answer(call("boss", message="go")),
            DONE,
            tools=[delegate("boss")],
            timeout=60 if how == "cancel" else 6,
        )
        await agents.effects.began.wait()
        if how == "cancel":
            await handle.cancel()
        ended = await agents.ended(handle)
        await agents.effects.cancelled.wait()
    assert ended.phase == ("CANCELLED CANCELLED" if how == "cancel" else "TIMED_OUT DEADLINE")
    for suffix in ("-1-1", "-1-1-1-1"):
        child = await agents.client.get_workflow_handle(f"{handle.id}{suffix}").describe()
        assert child.status in {WorkflowExecutionStatus.CANCELED, WorkflowExecutionStatus.FAILED}


@pytest.mark.tools_contract("agents below wait for people too")
async def test_agents_below_wait_for_people(agents: ToolAgents, tree: Tree) -> None:
    tree.add("worker", answer(call(value=8)), DONE, tools=[tool()], approval=policy(rule()))
    handle = await tree.start(
        answer(call("worker", message="go")), DONE, tools=[delegate("worker")]
    )
    child: WorkflowHandle[Any, Any] = agents.client.get_workflow_handle(f"{handle.id}-1-1")

    async def is_there() -> bool:
        return bool((await handle.describe()).raw_description.pending_children)

    await eventually(is_there)
    people = People(child)
    [found] = await people.pending()
    assert (found.id, list(found.path)) == ("approval-1-1-1-1", ["helper", "worker"])
    async with agents.tools_running():
        await people.approve(found)
        ended = await agents.ended(handle)
    assert ended.text == "8"


@pytest.mark.tools_contract("the budget of a tree of agents")
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    widths=strategies.lists(strategies.integers(1, 4), min_size=1, max_size=3),
    steps=strategies.integers(3, 30),
    tokens=strategies.integers(20, 400),
)
async def test_no_tree_exceeds_the_budget_of_its_root(
    agents: ToolAgents, tree: Tree, widths: list[int], steps: int, tokens: int
) -> None:
    each = ScriptUsage(input_tokens=5, output_tokens=5)
    tree.add("level-0", answer(text="…", pause=True, usage=each))
    for level, width in enumerate(widths[1:], 1):
        below = f"level-{level - 1}"
        calls = [call("down", message="go")] * width
        tree.add(
            f"level-{level}",
            answer(*calls, usage=each),
            answer(text="done", usage=each),
            tools=[delegate("down", below)],
        )
    top = f"level-{len(widths) - 1}"
    ended = await tree.run(
        answer(*[call("down", message="go")] * widths[0], usage=each),
        answer(text="done", usage=each),
        tools=[delegate("down", top)],
        limits=AgentLimits(steps=steps, tokens=tokens),
        approval=NO_APPROVAL,
    )
    usage = ended.execution.status.usage
    assert usage.model_calls <= steps
    # Over by one answer at most, by each agent.
    assert usage.input_tokens + usage.output_tokens <= tokens + 10 * (usage.sub_agents + 1)
