"""The rules of agents and workflows, and of the start requests that override them.

Only the size of a document is checked here: the workflow engine checks whether it is valid.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import (
    CONTEXT_STRATEGY_SUMMARIZE,
    AgentConfig,
    AgentLimits,
    AgentSpec,
    ContextStrategy,
    FailureReason,
    ScriptStep,
)
from stigma.contracts import configuration, limits
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma.workflow.v1.workflow_pb2 import WorkflowConfig, WorkflowSpec
from stigma_api.requests.approval_rules import check_approval, check_ruled_tools
from stigma_api.requests.runtime_rules import check_runtime
from stigma_api.requests.schema_rules import check_schema
from stigma_api.requests.tool_rules import check_tools
from stigma_api.requests.violations import Violations

_MODEL = re.compile(r"[A-Za-z0-9_.-]+:[^\s\x00-\x1f\x7f]+")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MAX_INSTRUCTIONS_BYTES = 256 * 1024
_MAX_SPEC_BYTES = 512 * 1024
_MAX_ENV_VALUE_BYTES = 32 * 1024
_MAX_MODELS = 64
# It is a metric's label and part of every model call.
_MAX_MODEL_BYTES = 255


def check_agent_start(found: Violations, request: StartAgentRequest) -> None:
    """Check the fields of a start request that only agents have."""
    found.size("message", request.message, limits.MAX_MESSAGE_BYTES)
    _env(found, request.env)
    _config(found, request.config)


def check_agent_spec(found: Violations, at: str, spec: AgentSpec) -> None:
    """Check an agent."""
    if spec.HasField("runtime"):
        check_runtime(found, at, spec)
    else:
        _model(found, f"{at}.model", spec.model)
    found.require(
        len(spec.allowed_models) <= _MAX_MODELS, f"{at}.allowed_models", f"at most {_MAX_MODELS}"
    )
    for index, model in enumerate(spec.allowed_models):
        _model(found, f"{at}.allowed_models[{index}]", model)
    found.description(f"{at}.description", spec.description)
    found.size(f"{at}.instructions", spec.instructions, _MAX_INSTRUCTIONS_BYTES)
    size = spec.ByteSize()
    fine = size <= _MAX_SPEC_BYTES
    found.require(fine, at, f"has {size} bytes, the limit is {_MAX_SPEC_BYTES}")
    if fine:  # what is too large is not read
        check_schema(found, f"{at}.output_schema", spec.output_schema)
        check_tools(found, f"{at}.tools", spec.tools)
        check_approval(found, f"{at}.approval", spec.approval)
        check_ruled_tools(found, f"{at}.approval", spec)
    _context(found, f"{at}.context", spec)
    _limits(found, f"{at}.limits", spec.limits)
    _settings(found, f"{at}.model_settings", spec)
    found.require(len(spec.env) <= limits.MAX_ENV, f"{at}.env", f"at most {limits.MAX_ENV} names")
    for index, name in enumerate(spec.env):
        found.require(
            _ENV_NAME.fullmatch(name),
            f"{at}.env[{index}]",
            "must be letters, digits and _, at most 64",
        )
    _script(found, at, spec)


def check_agent_overrides(
    found: Violations, agent: AgentSpec, config: AgentConfig, env: Mapping[str, str]
) -> None:
    """Check that a start request stays within its agent."""
    for name in env:
        found.require(name in agent.env, f"env.{name}", "the agent does not allow this name")
    models = {"", agent.model, *agent.allowed_models}
    found.require(config.model in models, "config.model", "the agent does not allow this model")
    fine = not (agent.HasField("runtime") and config.HasField("temperature"))
    found.require(fine, "config.temperature", "the agent has no model")
    if agent.limits.HasField("timeout"):
        ours = agent.limits.timeout.ToTimedelta()
        for field, theirs in (
            ("config.timeout", config.timeout),
            ("config.limits.timeout", config.limits.timeout),
        ):
            fine = theirs.ToTimedelta() <= ours
            found.require(fine, field, f"the agent's limit is {ours.total_seconds():g} s")
    for what in ("steps", "tokens", "cost_usd", "tool_calls"):
        limit = getattr(agent.limits, what)
        fine = not limit or getattr(config.limits, what) <= limit
        found.require(fine, f"config.limits.{what}", f"the agent's limit is {limit:g}")


def _model(found: Violations, at: str, model: str) -> None:
    if not _MODEL.fullmatch(model):
        found.add(at, 'must be "provider:model", as in "openai:gpt-5"')
    else:
        found.size(at, model, _MAX_MODEL_BYTES)


def _settings(found: Violations, at: str, spec: AgentSpec) -> None:
    settings = spec.model_settings
    _temperature(found, f"{at}.temperature", settings.temperature)
    found.require(0 <= settings.top_p <= 1, f"{at}.top_p", "must be from 0 to 1")
    fine = not settings.HasField("max_tokens") or settings.max_tokens > 0
    found.require(fine, f"{at}.max_tokens", "must be positive")
    found.duration(f"{at}.request_timeout", settings, "request_timeout")


def _script(found: Violations, at: str, spec: AgentSpec) -> None:
    if not spec.HasField("script"):
        return
    models = (spec.model, *spec.allowed_models)
    scripted = any(configuration.provider(m) == configuration.SCRIPTED_PROVIDER for m in models)
    found.require(scripted, f"{at}.script", 'is only for models of provider "scripted"')
    for index, step in enumerate(spec.script.steps):
        _script_step(found, f"{at}.script.steps[{index}]", step)


def _script_step(found: Violations, at: str, step: ScriptStep) -> None:
    """Check a step; the tools that it calls may be unknown, and their arguments malformed."""
    for what in ("delay", "chunk_delay"):
        found.duration(f"{at}.{what}", step, what, positive=False)
    if step.HasField("failure"):
        fine = step.failure.reason in FailureReason.values() and step.failure.reason
        found.require(fine, f"{at}.failure.reason", "must name a failure reason")
    for what in ("failure", "cut"):
        attempts = getattr(step, what).attempts
        found.require(attempts >= 0, f"{at}.{what}.attempts", "must not be negative")
    for what in ("input_tokens", "output_tokens", "cost_usd"):
        used = getattr(step.usage, what)
        found.require(
            used >= 0 and math.isfinite(used), f"{at}.usage.{what}", "must not be negative"
        )


def _config(found: Violations, config: AgentConfig) -> None:
    if config.model:
        _model(found, "config.model", config.model)
    found.duration("config.timeout", config, "timeout")
    _temperature(found, "config.temperature", config.temperature)
    _limits(found, "config.limits", config.limits)


def _context(found: Violations, at: str, spec: AgentSpec) -> None:
    if not spec.HasField("context"):
        return
    context = spec.context
    found.require(context.max_tokens >= 0, f"{at}.max_tokens", "must not be negative")
    known = context.strategy in ContextStrategy.values()
    found.require(known, f"{at}.strategy", "is not known to this release")
    summarizes = context.strategy == CONTEXT_STRATEGY_SUMMARIZE
    models = ("", spec.model, *spec.allowed_models)
    problem = "must be the agent's model, or one of its allowed_models"
    found.require(context.summary_model in models, f"{at}.summary_model", problem)
    problem = "is only for the strategy SUMMARIZE"
    found.require(summarizes or not context.summary_model, f"{at}.summary_model", problem)
    fine = 0 <= context.keep_steps <= limits.MAX_KEEP_STEPS
    found.require(fine, f"{at}.keep_steps", f"must be from 1 to {limits.MAX_KEEP_STEPS}")


def _limits(found: Violations, at: str, value: AgentLimits) -> None:
    found.duration(f"{at}.timeout", value, "timeout")
    found.require(
        0 <= value.steps <= limits.MAX_STEPS, f"{at}.steps", f"must be from 0 to {limits.MAX_STEPS}"
    )
    found.require(
        0 <= value.tool_calls <= limits.MAX_TOOL_CALLS,
        f"{at}.tool_calls",
        f"must be from 0 to {limits.MAX_TOOL_CALLS}",
    )
    found.require(value.tokens >= 0, f"{at}.tokens", "must not be negative")
    fine = value.cost_usd >= 0 and math.isfinite(value.cost_usd)
    found.require(fine, f"{at}.cost_usd", "must not be negative")


def _temperature(found: Violations, at: str, value: float) -> None:
    found.require(value >= 0 and math.isfinite(value), at, "must not be negative")


def _env(found: Violations, env: Mapping[str, str]) -> None:
    found.require(len(env) <= limits.MAX_ENV, "env", f"at most {limits.MAX_ENV} variables")
    for name, value in env.items():
        fine = _ENV_NAME.fullmatch(name)
        found.require(fine, "env", "names must be letters, digits and _, at most 64")
        if fine:
            found.size(f"env.{name}", value, _MAX_ENV_VALUE_BYTES)


def check_workflow_start(found: Violations, request: StartWorkflowRequest) -> None:
    """Check the fields of a start request that only workflows have."""
    found.duration("config.timeout", request.config, "timeout")


def check_workflow_spec(found: Violations, at: str, spec: WorkflowSpec) -> None:
    """Check a workflow, except for its document's content."""
    found.description(f"{at}.description", spec.description)
    found.require(spec.document.strip(), f"{at}.document", "is empty")
    found.size(f"{at}.document", spec.document, limits.MAX_DOCUMENT_BYTES)
    found.duration(f"{at}.limits.timeout", spec.limits, "timeout")


def check_workflow_overrides(
    found: Violations, workflow: WorkflowSpec, config: WorkflowConfig
) -> None:
    """Check that a start request stays within its workflow."""
    if workflow.limits.HasField("timeout"):
        ours = workflow.limits.timeout.ToTimedelta()
        fine = config.timeout.ToTimedelta() <= ours
        found.require(fine, "config.timeout", f"the workflow's limit is {ours.total_seconds():g} s")
