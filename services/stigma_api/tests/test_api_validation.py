"""Every rule of a request, and the field path that its violation names."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    StartAgentRequest,
)
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_RATE_LIMITED,
    Agent,
    AgentConfig,
    AgentLimits,
    AgentSpec,
    ModelSettings,
    Script,
    ScriptCut,
    ScriptFailure,
    ScriptStep,
    ScriptToolCall,
    ScriptUsage,
)
from stigma_api.errors import ApiError
from stigma_api.requests import validation


def fields(check: Callable[[], object]) -> list[str]:
    """The fields that a check finds wrong."""
    try:
        check()
    except ApiError as error:
        found = error.fields
    else:
        return []
    return found or ["(no field)"]


GOOD_START = StartAgentRequest(
    agent_id="reviewer@3",
    message="m",
    input_json='{"a": [1, 2.5, null, "ü"]}',
    env={"CITY": "Rome"},
    config=AgentConfig(timeout=Duration(seconds=1), temperature=0.0, limits=AgentLimits(steps=3)),
    session_id="a session",
    labels={"team/x.y": "core 1"},
    request_id='it\'s "any" text',
)
GOOD_START.callback_deadline.FromJsonString("2026-01-01T00:00:00Z")

GOOD_SPEC = AgentSpec(
    description="d",
    model="scripted:demo",
    instructions="Be brief in ${CITY}.",
    output_schema='{"type": "object", "$defs": {"a": {"type": "string"}},'
    ' "properties": {"x": {"$ref": "#/$defs/a"}}}',
    limits=AgentLimits(
        timeout=Duration(seconds=3600), steps=10, tokens=5, cost_usd=0.25, tool_calls=10_000
    ),
    model_settings=ModelSettings(temperature=1.0, top_p=0.5, max_tokens=5),
    env=["CITY"],
    allowed_models=["openai:gpt-5"],
    script=Script(
        steps=[
            ScriptStep(text="a", delay=Duration()),
            ScriptStep(failure=ScriptFailure(reason=FAILURE_REASON_RATE_LIMITED, attempts=2)),
            ScriptStep(
                tool_calls=[ScriptToolCall(name="no such tool", arguments_json="{", id="1")] * 2,
                usage=ScriptUsage(input_tokens=1, output_tokens=2, cost_usd=0.5),
                cut=ScriptCut(attempts=1),
            ),
        ]
    ),
)


def test_what_is_fine_passes() -> None:
    assert fields(lambda: validation.check_start(GOOD_START)) == []
    inline = StartAgentRequest(spec=GOOD_SPEC)
    assert fields(lambda: validation.check_start(inline)) == []
    assert fields(lambda: validation.check_agent(Agent(name="a", spec=GOOD_SPEC))) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"spec": GOOD_SPEC}, "agent_id"),
        ({"agent_id": ""}, "agent_id"),
        ({"callback_token": b"x" * 16_385}, "callback_token"),
        ({"message": "x" * 1_048_577}, "message"),
        ({"message": "ü" * 524_289}, "message"),
        ({"input_json": '"' + "x" * 1_048_576 + '"'}, "input_json"),
        ({"input_json": "{'a': 1}"}, "input_json"),
        ({"input_json": "NaN"}, "input_json"),
        ({"input_json": '{"a": -1e999}'}, "input_json"),
        ({"input_json": "[" * 100_000}, "input_json"),
        ({"input_json": "1" * 5000}, "input_json"),
        ({"env": {"NO-DASH": "x"}}, "env"),
        ({"env": {f"E{n}": "x" for n in range(65)}}, "env"),
        ({"env": {"CITY": "x" * 32_769}}, "env.CITY"),
        ({"session_id": "x" * 257}, "session_id"),
        ({"session_id": "it's"}, "session_id"),
        ({"request_id": "x" * 257}, "request_id"),
        ({"request_id": "a\nb"}, "request_id"),
        ({"labels": {f"l{n}": "x" for n in range(33)}}, "labels"),
        ({"labels": {"a b": "x"}}, "labels"),
        ({"labels": {"k": "x" * 255}}, "labels.k"),
        ({"labels": {"k": 'a"b'}}, "labels.k"),
        ({"labels": {"k": "a\\b"}}, "labels.k"),
        ({"caller": {"workflow_id": "x" * 1001}}, "caller.workflow_id"),
        ({"caller": {"heartbeat_timeout": Duration()}}, "caller.heartbeat_timeout"),
        ({"callback_payload": 99}, "callback_payload"),
        ({"callback_deadline": Timestamp(seconds=10**15)}, "callback_deadline"),
        ({"callback_deadline": Timestamp(nanos=-1)}, "callback_deadline"),
        ({"callback_deadline": Timestamp(nanos=10**9)}, "callback_deadline"),
        ({"config": AgentConfig(model="openai")}, "config.model"),
        ({"config": AgentConfig(model="openai:" + "x" * 249)}, "config.model"),
        ({"config": AgentConfig(timeout=Duration())}, "config.timeout"),
        ({"config": AgentConfig(timeout=Duration(seconds=-1))}, "config.timeout"),
        ({"config": AgentConfig(timeout=Duration(seconds=10**11))}, "config.timeout"),
        ({"config": AgentConfig(timeout=Duration(seconds=1, nanos=-1))}, "config.timeout"),
        ({"config": AgentConfig(temperature=-0.1)}, "config.temperature"),
        ({"config": AgentConfig(temperature=float("nan"))}, "config.temperature"),
        ({"config": AgentConfig(limits=AgentLimits(steps=1001))}, "config.limits.steps"),
        ({"config": AgentConfig(limits=AgentLimits(tokens=-1))}, "config.limits.tokens"),
        ({"config": AgentConfig(limits=AgentLimits(tool_calls=-1))}, "config.limits.tool_calls"),
        ({"config": AgentConfig(limits=AgentLimits(cost_usd=-1))}, "config.limits.cost_usd"),
    ],
)
def test_a_start_that_breaks_a_rule_names_its_field(change: dict[str, object], field: str) -> None:
    request = StartAgentRequest()
    request.CopyFrom(GOOD_START)
    for name in change:
        request.ClearField(name)  # type: ignore[arg-type]
    request.MergeFrom(StartAgentRequest(**change))  # type: ignore[arg-type]
    assert fields(lambda: validation.check_start(request)) == [field]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": "", "script": None}, "model"),
        ({"model": "gpt-5", "script": None}, "model"),
        ({"model": "openai:a\0b", "script": None}, "model"),
        ({"model": "openai:" + "x" * 249, "script": None}, "model"),
        ({"allowed_models": ["scripted:" + "ü" * 124]}, "allowed_models[0]"),
        ({"description": "x" * 4097}, "description"),
        ({"instructions": "x" * 262_145}, "instructions"),
        ({"output_schema": "{"}, "output_schema"),
        ({"output_schema": "[]"}, "output_schema"),
        ({"output_schema": '{"type": "thing"}'}, "output_schema"),
        ({"output_schema": '{"$schema": "http://127.0.0.1:1/x"}'}, "output_schema"),
        ({"output_schema": '{"$ref": "http://127.0.0.1:1/x"}'}, "output_schema"),
        ({"output_schema": '{"anyOf": [{"$ref": "other.json"}]}'}, "output_schema"),
        ({"output_schema": '{"$ref": "#/nowhere"}'}, "output_schema"),
        ({"output_schema": '{"properties": {"a": {"pattern": "(a"}}}'}, "output_schema"),
        ({"output_schema": '{"items": ' * 900 + "{}" + "}" * 900}, "output_schema"),
        ({"output_schema": '{"$ref": "#"}'}, "output_schema"),
        ({"limits": AgentLimits(timeout=Duration())}, "limits.timeout"),
        ({"limits": AgentLimits(steps=-1)}, "limits.steps"),
        ({"limits": AgentLimits(tool_calls=10_001)}, "limits.tool_calls"),
        ({"model_settings": ModelSettings(temperature=-1)}, "model_settings.temperature"),
        ({"model_settings": ModelSettings(top_p=1.1)}, "model_settings.top_p"),
        ({"model_settings": ModelSettings(max_tokens=0)}, "model_settings.max_tokens"),
        (
            {"model_settings": ModelSettings(request_timeout=Duration(seconds=-5))},
            "model_settings.request_timeout",
        ),
        ({"env": ["A B"]}, "env[0]"),
        ({"env": [f"E{n}" for n in range(65)]}, "env"),
        ({"allowed_models": ["scripted:x", "nothing"]}, "allowed_models[1]"),
        ({"allowed_models": ["a:b"] * 65}, "allowed_models"),
        ({"model": "openai:gpt-5"}, "script"),
        (
            {"script": Script(steps=[ScriptStep(delay=Duration(seconds=-1))])},
            "script.steps[0].delay",
        ),
        (
            {"script": Script(steps=[ScriptStep(cut=ScriptCut(attempts=-1))])},
            "script.steps[0].cut.attempts",
        ),
        (
            {"script": Script(steps=[ScriptStep(usage=ScriptUsage(output_tokens=-1))])},
            "script.steps[0].usage.output_tokens",
        ),
        (
            {"script": Script(steps=[ScriptStep(usage=ScriptUsage(cost_usd=float("inf")))])},
            "script.steps[0].usage.cost_usd",
        ),
        (
            {"script": Script(steps=[ScriptStep(failure=ScriptFailure())])},
            "script.steps[0].failure.reason",
        ),
        (
            {
                "script": Script(
                    steps=[
                        ScriptStep(
                            failure=ScriptFailure(reason=FAILURE_REASON_RATE_LIMITED, attempts=-1)
                        )
                    ]
                )
            },
            "script.steps[0].failure.attempts",
        ),
    ],
)
def test_an_agent_that_breaks_a_rule_names_its_field(change: dict[str, object], field: str) -> None:
    spec = AgentSpec()
    spec.CopyFrom(GOOD_SPEC)
    for name in change:
        spec.ClearField(name)  # type: ignore[arg-type]
    spec.MergeFrom(AgentSpec(**change))  # type: ignore[arg-type]
    agent = Agent(name="reviewer", spec=spec)
    assert fields(lambda: validation.check_agent(agent)) == [f"agent.spec.{field}"]
    request = StartAgentRequest(spec=spec)
    assert fields(lambda: validation.check_start(request)) == [f"spec.{field}"]


def test_an_agent_too_large_as_a_whole_is_refused() -> None:
    steps = [ScriptStep(text="x" * 1000)] * 600
    spec = AgentSpec(
        model="scripted:x", script=Script(steps=steps), output_schema=json.dumps({"type": "nope"})
    )
    assert fields(lambda: validation.check_agent(Agent(name="a", spec=spec))) == ["agent.spec"]


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a" * 64, "ä", "a b"])
def test_a_bad_name_is_refused(name: str) -> None:
    agent = Agent(name=name, spec=GOOD_SPEC, labels={"a": "b"})
    assert fields(lambda: validation.check_agent(agent)) == ["agent.name"]
    assert fields(lambda: validation.name_and_version("id", name)) == ["id"]


@pytest.mark.parametrize("version", ["", "0", "x", "-1", "1.0", "9" * 19, "99999999999999999999"])
def test_a_bad_version_is_refused(version: str) -> None:
    assert fields(lambda: validation.name_and_version("id", f"reviewer@{version}")) == ["id"]


def test_names_and_versions_are_told_apart() -> None:
    assert validation.name_and_version("id", "reviewer") == ("reviewer", None)
    assert validation.name_and_version("id", "reviewer@12") == ("reviewer", 12)


def test_a_model_may_have_a_long_name() -> None:
    spec = AgentSpec(model="bedrock:" + "x" * 247)
    assert fields(lambda: validation.check_agent(Agent(name="a", spec=spec))) == []


def test_a_page_has_a_size() -> None:
    assert validation.page_size(0) == 50
    assert validation.page_size(1000) == 1000
    assert fields(lambda: validation.page_size(-1)) == ["page_size"]
    assert fields(lambda: validation.page_size(1001)) == ["page_size"]


def test_no_message_quotes_what_was_said() -> None:
    request = StartAgentRequest(agent_id="a", input_json='{"password": hunter2}')
    with pytest.raises(ApiError) as caught:
        validation.check_start(request)
    assert "hunter2" not in caught.value.message


def test_labels_fit_what_temporal_keeps_of_them_together() -> None:
    request = StartAgentRequest(agent_id="reviewer")
    request.labels.update({f"k{i:02}": "v" * 50 for i in range(32)})
    assert fields(lambda: validation.check_start(request)) == []
    request.labels.update({f"k{i:02}": "v" * 250 for i in range(8)})
    assert fields(lambda: validation.check_start(request)) == ["labels"]


def test_a_cancel_names_one_execution_and_a_short_reason() -> None:
    def cancel(**given: Any) -> list[str]:
        return fields(lambda: validation.check_cancel(CancelAgentExecutionRequest(**given)))

    assert cancel(id="agent-1", reason="r" * 1000) == cancel(request_id="one") == []
    assert cancel() == cancel(id="agent-1", request_id="one") == ["id"]
    assert cancel(id="agent-1", reason="r" * 1001) == ["reason"]


@pytest.mark.parametrize("depth", [300, 400, 900, 1_000, 5_000, 50_000])
@pytest.mark.parametrize("step", ['{"not":', '{"properties":{"a":', '{"allOf":[', "["])
def test_deep_json_is_refused_with_its_field(step: str, depth: int) -> None:
    closing = step.translate(str.maketrans("{[", "}]"))
    text = step * depth + "{}" + "".join(c for c in reversed(closing) if c in "}]") * depth
    spec = AgentSpec(model="openai:gpt-5", output_schema=text)
    found = fields(lambda: validation.check_agent(Agent(name="a", spec=spec)))
    assert found in (["agent.spec.output_schema"], ["agent.spec"])
