"""Every rule of an agent that is a workflow, and the field path that its violation names."""

from __future__ import annotations

from typing import Any

import pytest

from stigma.agent.v1.agent_execution_pb2 import AgentExecutionSpec
from stigma.agent.v1.agent_pb2 import (
    Agent,
    AgentConfig,
    AgentSpec,
    ApprovalPolicy,
    ContextPolicy,
    ModelSettings,
    Runtime,
    Script,
    Tool,
)
from stigma.contracts.task_queues import TaskQueues
from stigma_api.definitions.tool_access import ToolPlaces
from stigma_api.errors import ApiError
from stigma_api.requests import validation

RUNTIME = Runtime(workflow_type="Adviser", task_queue="advisers")


def wrong(spec: AgentSpec) -> list[str]:
    """The paths of what is wrong with an agent."""
    try:
        validation.check_agent(Agent(name="a", spec=spec))
    except ApiError as error:
        return error.fields
    return []


def test_a_runtime_stands_alone() -> None:
    assert wrong(AgentSpec(runtime=RUNTIME, env=["A"], output_schema="{}")) == []
    assert wrong(AgentSpec()) == ["agent.spec.model"]


@pytest.mark.parametrize(
    "field",
    [
        {"model": "scripted:x"},
        {"instructions": "Be kind."},
        {"model_settings": ModelSettings(top_p=0.5)},
        {"allowed_models": ["scripted:x"]},
        {"script": Script()},
        {"tools": [Tool()]},
        {"approval": ApprovalPolicy()},
        {"context": ContextPolicy()},
    ],
    ids=lambda field: next(iter(field)),
)
def test_what_only_a_model_has_is_refused_beside_it(field: dict[str, Any]) -> None:
    [name] = field
    assert f"agent.spec.{name}" in wrong(AgentSpec(runtime=RUNTIME, **field))


def test_type_and_queue_are_needed() -> None:
    assert wrong(AgentSpec(runtime=Runtime())) == [
        "agent.spec.runtime.workflow_type",
        "agent.spec.runtime.task_queue",
    ]
    line = Runtime(workflow_type="a\nb", task_queue="q")
    assert wrong(AgentSpec(runtime=line)) == ["agent.spec.runtime.workflow_type"]


@pytest.mark.parametrize(
    ("queue", "allowed"),
    [("advisers", True), ("others", False), ("x-stigma", False), ("temporal-sys-a", False)],
)
def test_its_queue_is_the_operators_to_allow(queue: str, allowed: bool) -> None:
    places = ToolPlaces(["advisers", "x-*", "temporal*"], [], TaskQueues("x-"))
    spec = AgentSpec(runtime=Runtime(workflow_type="A", task_queue=queue))
    if allowed:
        places.check("spec", spec)
        return
    with pytest.raises(ApiError) as refused:
        places.check("spec", spec)
    assert refused.value.fields == ["spec.runtime.task_queue"]


def test_a_start_may_set_no_temperature() -> None:
    spec = AgentExecutionSpec(agent=AgentSpec(runtime=RUNTIME), config=AgentConfig(temperature=1))
    with pytest.raises(ApiError) as refused:
        validation.check_overrides(spec)
    assert refused.value.fields == ["config.temperature"]
