"""The rules of workflows, and of what a start request asks of one.

A document's text is only measured here: whether it is valid, the workflow engine says.
"""

from __future__ import annotations

from stigma.contracts import limits
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma.workflow.v1.workflow_pb2 import WorkflowConfig, WorkflowSpec
from stigma_api.violations import Violations


def check_start(found: Violations, request: StartWorkflowRequest) -> None:
    """Note what is wrong with the parts of a start request that only workflows have."""
    found.duration("config.timeout", request.config, "timeout")


def check_spec(found: Violations, at: str, spec: WorkflowSpec) -> None:
    """Note what is wrong with a workflow, its document's content aside."""
    found.description(f"{at}.description", spec.description)
    found.unless(spec.document.strip(), f"{at}.document", "is empty")
    found.size(f"{at}.document", spec.document, limits.MAX_DOCUMENT_BYTES)
    found.duration(f"{at}.limits.timeout", spec.limits, "timeout")


def check_tightens(found: Violations, workflow: WorkflowSpec, config: WorkflowConfig) -> None:
    """Note where a start request goes beyond its workflow."""
    if workflow.limits.HasField("timeout"):
        ours = workflow.limits.timeout.ToTimedelta()
        fine = config.timeout.ToTimedelta() <= ours
        found.unless(fine, "config.timeout", f"the workflow's limit is {ours.total_seconds():g} s")
