"""The services of the API, together: what its gRPC server offers, and the console reads through."""

from __future__ import annotations

from dataclasses import dataclass

import grpc.aio

from stigma.agent.v1 import agent_execution_service_pb2, agent_service_pb2
from stigma.agent.v1.agent_execution_service_pb2_grpc import (
    add_AgentExecutionServiceServicer_to_server,
)
from stigma.agent.v1.agent_service_pb2_grpc import add_AgentServiceServicer_to_server
from stigma.diagnosis.v1 import diagnosis_service_pb2
from stigma.diagnosis.v1.diagnosis_service_pb2_grpc import add_DiagnosisServiceServicer_to_server
from stigma.workflow.v1 import workflow_execution_service_pb2, workflow_service_pb2
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import (
    add_WorkflowExecutionServiceServicer_to_server,
)
from stigma.workflow.v1.workflow_service_pb2_grpc import add_WorkflowServiceServicer_to_server
from stigma_api.grpc_api.agent_executions import AgentExecutions
from stigma_api.grpc_api.agents import Agents
from stigma_api.grpc_api.diagnosis import Diagnosis
from stigma_api.grpc_api.workflow_executions import WorkflowExecutions
from stigma_api.grpc_api.workflows import Workflows

NAMES: tuple[str, ...] = tuple(
    service.full_name
    for file in (
        agent_service_pb2,
        agent_execution_service_pb2,
        workflow_service_pb2,
        workflow_execution_service_pb2,
        diagnosis_service_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
)
"""Full names of the proto services."""


@dataclass(frozen=True)
class Servicers:
    """One of each."""

    agents: Agents
    agent_executions: AgentExecutions
    workflows: Workflows
    workflow_executions: WorkflowExecutions
    diagnosis: Diagnosis

    def register(self, server: grpc.aio.Server) -> None:
        """Add them to a gRPC server."""
        add_AgentServiceServicer_to_server(self.agents, server)
        add_AgentExecutionServiceServicer_to_server(self.agent_executions, server)
        add_WorkflowServiceServicer_to_server(self.workflows, server)
        add_WorkflowExecutionServiceServicer_to_server(self.workflow_executions, server)
        add_DiagnosisServiceServicer_to_server(self.diagnosis, server)
