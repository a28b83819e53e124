"""Settings of one execution: the agent's own settings, tightened by the request's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from string import Template
from typing import TypeVar

from stigma.agent.v1.agent_pb2 import AgentConfig, AgentSpec, ModelSettings
from stigma.contracts import limits

SCRIPTED_PROVIDER = "scripted"

N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Configuration:
    """The settings in force. Limits of 0 tokens or cost mean no such limit."""

    model: str
    settings: ModelSettings
    steps: int
    tokens: int
    cost_usd: float
    tool_calls: int
    timeout: timedelta | None
    request_timeout: timedelta

    @property
    def is_scripted(self) -> bool:
        """True for the built-in offline model."""
        return provider(self.model) == SCRIPTED_PROVIDER


def configure(agent: AgentSpec, config: AgentConfig) -> Configuration:
    """Merge an agent with a request's config; of two limits the tighter one holds."""
    settings = ModelSettings()
    settings.CopyFrom(agent.model_settings)
    if config.HasField("temperature"):
        settings.temperature = config.temperature
    return Configuration(
        model=config.model or agent.model,
        settings=settings,
        steps=_tightest(agent.limits.steps, config.limits.steps) or limits.DEFAULT_STEPS,
        tokens=_tightest(agent.limits.tokens, config.limits.tokens),
        cost_usd=_tightest(agent.limits.cost_usd, config.limits.cost_usd),
        tool_calls=_tightest(agent.limits.tool_calls, config.limits.tool_calls)
        or limits.DEFAULT_TOOL_CALLS,
        timeout=_timeout(agent, config),
        request_timeout=settings.request_timeout.ToTimedelta() or limits.DEFAULT_REQUEST_TIMEOUT,
    )


def provider(model: str) -> str:
    """Return the provider in "provider:model"."""
    return model.partition(":")[0]


def instructions(agent: AgentSpec, env: Mapping[str, str]) -> str:
    """Return the system prompt with the values of the agent's own env variables filled in."""
    allowed = {name: env[name] for name in agent.env if name in env}
    return Template(agent.instructions).safe_substitute(allowed)


def _timeout(agent: AgentSpec, config: AgentConfig) -> timedelta | None:
    given = [
        duration.ToTimedelta()
        for duration in (agent.limits.timeout, config.timeout, config.limits.timeout)
        if duration.ToTimedelta() > timedelta()
    ]
    return min(given, default=None)


def _tightest(ours: N, theirs: N) -> N:
    """Return the smaller of two limits, where 0 is no limit."""
    return min(ours, theirs) if ours and theirs else ours or theirs
