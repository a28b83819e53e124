"""The rules of an agent that is a workflow. Its task queue may still be one that none may use."""

from __future__ import annotations

from stigma.agent.v1.agent_pb2 import AgentSpec
from stigma_api.requests.tool_rules import check_temporal_name
from stigma_api.requests.violations import Violations

_OF_MODELS = (
    "model",
    "instructions",
    "model_settings",
    "allowed_models",
    "script",
    "tools",
    "approval",
    "context",
)
"""Fields that say how a model is asked: the workflow would not see them."""


def check_runtime(found: Violations, at: str, spec: AgentSpec) -> None:
    """Check the runtime of an agent, and that nothing is given that is for a model only."""
    check_temporal_name(found, f"{at}.runtime.workflow_type", spec.runtime.workflow_type)
    check_temporal_name(found, f"{at}.runtime.task_queue", spec.runtime.task_queue)
    given = {field.name for field, _ in spec.ListFields()}
    for name in _OF_MODELS:
        problem = "must be absent beside runtime: it is for an agent with a model"
        found.require(name not in given, f"{at}.{name}", problem)
