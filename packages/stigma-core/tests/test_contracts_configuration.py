"""What one execution runs with: a request tightens an agent, never loosens it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from stigma.agent.v1.agent_pb2 import AgentConfig, AgentLimits, AgentSpec, ModelSettings
from stigma.contracts import configuration, limits, search_attributes

bounds = st.builds(
    AgentLimits,
    steps=st.integers(0, 100),
    tokens=st.integers(0, 100),
    cost_usd=st.floats(0, 100),
    timeout=st.integers(0, 100).map(lambda seconds: Duration(seconds=seconds)),
)


def agent(**fields: Any) -> AgentSpec:
    return AgentSpec(**({"model": "openai:gpt-5"} | fields))


def test_defaults() -> None:
    configured = configuration.configure(agent(), AgentConfig())
    assert configured.model == "openai:gpt-5"
    assert configured.steps == limits.DEFAULT_STEPS
    assert (configured.tokens, configured.cost_usd, configured.timeout) == (0, 0, None)
    assert configured.request_timeout == limits.DEFAULT_REQUEST_TIMEOUT
    assert not configured.is_scripted


@given(bounds, bounds)
def test_of_two_limits_the_tighter_one_holds(ours: AgentLimits, theirs: AgentLimits) -> None:
    configured = configuration.configure(agent(limits=ours), AgentConfig(limits=theirs))
    for name, default in (("steps", limits.DEFAULT_STEPS), ("tokens", 0), ("cost_usd", 0)):
        given_ones = [value for value in (getattr(ours, name), getattr(theirs, name)) if value]
        assert getattr(configured, name) == min(given_ones, default=default)


@pytest.mark.parametrize(
    ("own", "config", "config_limit", "holds"),
    [(60, 0, 0, 60), (60, 30, 0, 30), (60, 30, 20, 20), (60, 90, 0, 60), (0, 5, 0, 5)],
)
def test_the_shortest_timeout_holds(own: int, config: int, config_limit: int, holds: int) -> None:
    def seconds(value: int) -> Duration:
        return Duration(seconds=value)

    configured = configuration.configure(
        agent(limits=AgentLimits(timeout=seconds(own))),
        AgentConfig(timeout=seconds(config), limits=AgentLimits(timeout=seconds(config_limit))),
    )
    assert configured.timeout == timedelta(seconds=holds)


def test_a_request_chooses_model_and_temperature() -> None:
    settings = ModelSettings(temperature=1, top_p=0.5)
    configured = configuration.configure(
        agent(model_settings=settings), AgentConfig(model="scripted:demo", temperature=0)
    )
    assert configured.is_scripted
    assert configured.settings == ModelSettings(temperature=0, top_p=0.5)
    assert settings.temperature == 1, "the agent's own settings are left alone"


@pytest.mark.parametrize(
    ("given_seconds", "seconds"),
    [(90, 90), (0, limits.DEFAULT_REQUEST_TIMEOUT.total_seconds())],
)
def test_the_time_of_one_model_call(given_seconds: int, seconds: float) -> None:
    settings = ModelSettings(request_timeout=Duration(seconds=given_seconds))
    configured = configuration.configure(agent(model_settings=settings), AgentConfig())
    assert configured.request_timeout.total_seconds() == seconds


@pytest.mark.parametrize(
    ("model", "provider"), [("openai:gpt-5", "openai"), ("a:b:c", "a"), ("bare", "bare")]
)
def test_the_provider_comes_before_the_colon(model: str, provider: str) -> None:
    assert configuration.provider(model) == provider


def test_instructions_take_in_only_the_agents_own_variables() -> None:
    spec = agent(instructions="${A} $A ${B} ${C} $ 5", env=["A", "C"])
    filled = configuration.instructions(spec, {"A": "${B}", "B": "secret"})
    assert filled == "${B} ${B} ${B} ${C} $ 5"


def test_each_search_attribute_has_an_indexed_type() -> None:
    assert set(search_attributes.INDEXED_VALUE_TYPES) == {key.name for key in search_attributes.ALL}
