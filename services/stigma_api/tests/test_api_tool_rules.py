"""Every rule of an agent's tools, and the field path that its violation names."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from stigma.agent.v1.agent_execution_pb2 import AgentExecutionSpec
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import (
    ActivityTool,
    Agent,
    AgentConfig,
    AgentLimits,
    AgentSpec,
    NexusTool,
    Tool,
    ToolPolicy,
    WorkflowTool,
)
from stigma_api.errors import ApiError
from stigma_api.executions.admission import spec_digest
from stigma_api.executions.same_request import differs_in_json_text_only
from stigma_api.requests import validation

ACTIVITY = ActivityTool(type="FindOrder", task_queue="orders")


def tool(name: str = "find_order", **fields: Any) -> Tool:
    """A tool; an activity unless it says what else."""
    if not fields.keys() & {"workflow", "nexus"}:
        fields.setdefault("activity", ACTIVITY)
    return Tool(name=name, **fields)


def seconds(value: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=value))
    return duration


def problems(*tools: Tool) -> list[tuple[str, str]]:
    """The paths below `tools`, and the messages, of what is wrong with an agent's tools."""
    agent = Agent(name="a", spec=AgentSpec(model="scripted:x", tools=tools))
    try:
        validation.check_agent(agent)
    except ApiError as error:
        wrong = error
    else:
        return []
    assert all(field.startswith("agent.spec.tools") for field in wrong.fields)
    return [
        (field.removeprefix("agent.spec.tools"), message.partition(": ")[2])
        for field, message in zip(wrong.fields, wrong.message.split("; "), strict=True)
    ]


def policy_problems(**policy: Any) -> list[str]:
    """The paths below a policy of what is wrong with it."""
    return [at.removeprefix("[0].policy.") for at, _ in problems(tool(policy=ToolPolicy(**policy)))]


def test_tools_of_each_kind_pass() -> None:
    schema = '{"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}'
    whole = ToolPolicy(
        timeout=seconds(86_400),
        attempt_timeout=seconds(60),
        heartbeat_timeout=seconds(5),
        start_timeout=seconds(10),
        retry_safe=True,
        attempts=100,
        max_result_bytes=262_144,
        idempotency_argument="request.key",
        sequential=True,
    )
    given = [
        tool("a", description="d", input_schema=schema, output_schema='{"type": "array"}'),
        tool("B-2_" + "x" * 60, policy=whole),
        tool("c", workflow=WorkflowTool(type="Ship it", task_queue="shipping/eu")),
        tool("d", workflow=WorkflowTool(name="weather")),
        tool("e", workflow=WorkflowTool(name="weather@12")),
        tool("f", nexus=NexusTool(endpoint="billing", service="Bills", operation="pay")),
    ]
    assert problems(*given) == []
    assert problems(*(tool(f"t{n}") for n in range(128))) == []


@pytest.mark.parametrize("name", ["", "1a", "_a", "-a", "a" * 65, "a b", "a.b", "ä", "a\n"])
def test_a_bad_name_is_refused(name: str) -> None:
    assert [at for at, _ in problems(tool(name))] == ["[0].name"]


@pytest.mark.parametrize("other", ["find_order", "find-order", "FindOrder", "f-i_ndorder"])
def test_names_that_providers_cannot_tell_apart_are_refused(other: str) -> None:
    [(at, message)] = problems(tool("find_order"), tool("x"), tool(other))
    assert at == "[2].name"
    assert message.startswith("find_order is one already")


@pytest.mark.parametrize("name", ["final_result", "Final-Result", "finalresult"])
def test_the_name_of_the_output_is_no_tools(name: str) -> None:
    problem = "final_result is reserved: by it models give their output"
    assert problems(tool(name)) == [("[0].name", problem)]


def test_more_tools_than_may_be_are_refused_as_one() -> None:
    assert [at for at, _ in problems(*(tool("") for _ in range(129)))] == [""]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (Tool(name="a"), ""),
        (tool(activity=ActivityTool(task_queue="q")), ".activity.type"),
        (tool(activity=ActivityTool(type="t")), ".activity.task_queue"),
        (tool(activity=ActivityTool(type="t", task_queue=" ")), ".activity.task_queue"),
        (tool(activity=ActivityTool(type="t\n", task_queue="q")), ".activity.type"),
        (tool(activity=ActivityTool(type="t" * 1001, task_queue="q")), ".activity.type"),
        (tool(workflow=WorkflowTool(type="t")), ".workflow.task_queue"),
        (tool(workflow=WorkflowTool(task_queue="q")), ".workflow.type"),
        (tool(workflow=WorkflowTool(name="w", type="t")), ".workflow.name"),
        (tool(workflow=WorkflowTool(name="w", task_queue="q")), ".workflow.name"),
        (tool(workflow=WorkflowTool(name="W_1")), ".workflow.name"),
        (tool(workflow=WorkflowTool(name="w@0")), ".workflow.name"),
        (tool(nexus=NexusTool(service="s", operation="o")), ".nexus.endpoint"),
        (tool(nexus=NexusTool(endpoint="e", operation="o")), ".nexus.service"),
        (tool(nexus=NexusTool(endpoint="e", service="s")), ".nexus.operation"),
        (tool(description="x" * 4097), ".description"),
        (tool(input_schema="{"), ".input_schema"),
        (tool(input_schema="{}"), ".input_schema"),
        (tool(input_schema='{"type": "array"}'), ".input_schema"),
        (tool(input_schema='{"type": ["object", "null"]}'), ".input_schema"),
        (tool(input_schema='{"type": "object", "properties": 1}'), ".input_schema"),
        (tool(input_schema='{"type": "object", "allOf": [{"$ref": "#"}]}'), ".input_schema"),
        (tool(input_schema='{"type": "object", "$ref": "http://x/y"}'), ".input_schema"),
        (tool(output_schema='{"type": "thing"}'), ".output_schema"),
    ],
)
def test_a_tool_that_breaks_a_rule_names_its_field(given: Tool, field: str) -> None:
    assert [at for at, _ in problems(given)] == [f"[0]{field}"]
    inline = StartAgentRequest(spec=AgentSpec(model="scripted:x", tools=[tool("first"), given]))
    with pytest.raises(ApiError) as refused:
        validation.check_start(inline)
    assert refused.value.fields == [f"spec.tools[1]{field}"]


@pytest.mark.parametrize(
    ("policy", "wrong"),
    [
        ({"timeout": seconds(86_401)}, ["timeout"]),
        ({"timeout": Duration()}, ["timeout"]),
        ({"timeout": seconds(-1)}, ["timeout"]),
        ({"timeout": Duration(seconds=1, nanos=-1)}, ["timeout"]),
        ({"attempt_timeout": Duration()}, ["attempt_timeout"]),
        ({"attempt_timeout": seconds(60.001)}, ["attempt_timeout"]),
        ({"timeout": seconds(5), "attempt_timeout": seconds(6)}, ["attempt_timeout"]),
        ({"heartbeat_timeout": seconds(-1)}, ["heartbeat_timeout"]),
        ({"start_timeout": Duration()}, ["start_timeout"]),
        ({"attempts": 2}, ["attempts"]),
        ({"attempts": -1}, ["attempts"]),
        ({"attempts": 101, "retry_safe": True}, ["attempts"]),
        ({"max_result_bytes": 262_145}, ["max_result_bytes"]),
        ({"max_result_bytes": -1}, ["max_result_bytes"]),
        ({"idempotency_argument": "a b"}, ["idempotency_argument"]),
        ({"idempotency_argument": "x" * 65}, ["idempotency_argument"]),
        ({"timeout": seconds(5), "attempt_timeout": seconds(5)}, []),
        ({"attempt_timeout": seconds(60)}, []),
        ({"retry_safe": True, "attempts": 1}, []),
    ],
)
def test_a_policy_that_breaks_a_rule_names_its_field(
    policy: dict[str, Any], wrong: list[str]
) -> None:
    assert policy_problems(**policy) == wrong


def test_a_heartbeat_is_only_of_an_activity() -> None:
    policy = ToolPolicy(heartbeat_timeout=seconds(5))
    workflow = tool(workflow=WorkflowTool(name="w"), policy=policy)
    assert [at for at, _ in problems(workflow)] == ["[0].policy.heartbeat_timeout"]


def test_a_start_may_only_tighten_the_limit_of_tool_calls() -> None:
    def wrong(agents: int, starts: int) -> list[str]:
        spec = AgentExecutionSpec(
            agent=AgentSpec(model="scripted:x", limits=AgentLimits(tool_calls=agents)),
            config=AgentConfig(limits=AgentLimits(tool_calls=starts)),
        )
        try:
            validation.check_overrides(spec)
        except ApiError as error:
            return error.fields
        return []

    assert wrong(10, 11) == ["config.limits.tool_calls"]
    assert wrong(10, 10) == wrong(10, 0) == wrong(0, 11) == []


def test_a_repeated_start_may_write_its_tools_schemas_anew() -> None:
    def request(schema: str, name: str = "a") -> StartAgentRequest:
        spec = AgentSpec(model="scripted:x", tools=[tool(name, input_schema=schema)])
        return StartAgentRequest(spec=spec)

    first = request('{"type": "object", "required": []}')
    digest = spec_digest(first).hex()
    recorded = AgentExecutionSpec(agent=first.spec)
    for schema, name, same in (
        ('{"required":[],"type":"object"}', "a", True),
        ('{"required":["x"],"type":"object"}', "a", False),
        ('{"required":[],"type":"object"}', "b", False),
    ):
        again = request(schema, name)
        assert differs_in_json_text_only(again, recorded, digest) is same
    without = StartAgentRequest(spec=AgentSpec(model="scripted:x"))
    assert not differs_in_json_text_only(without, recorded, digest)
