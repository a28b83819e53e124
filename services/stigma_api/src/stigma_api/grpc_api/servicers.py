"""The servicers of every proto service, and their names."""

from __future__ import annotations

import grpc.aio

from stigma.agent.v1 import (
    agent_execution_service_pb2,
    agent_service_pb2,
    agent_session_service_pb2,
)
from stigma.agent.v1.agent_execution_service_pb2_grpc import (
    add_AgentExecutionServiceServicer_to_server,
)
from stigma.agent.v1.agent_service_pb2_grpc import add_AgentServiceServicer_to_server
from stigma.agent.v1.agent_session_service_pb2_grpc import add_AgentSessionServiceServicer_to_server
from stigma.contracts.executions import Kind
from stigma.diagnosis.v1 import diagnosis_service_pb2
from stigma.diagnosis.v1.diagnosis_service_pb2_grpc import add_DiagnosisServiceServicer_to_server
from stigma.workflow.v1 import workflow_execution_service_pb2, workflow_service_pb2
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import (
    add_WorkflowExecutionServiceServicer_to_server,
)
from stigma.workflow.v1.workflow_service_pb2_grpc import add_WorkflowServiceServicer_to_server
from stigma_api.grpc_api.definitions import AgentServicer, WorkflowServicer
from stigma_api.grpc_api.diagnosis import DiagnosisServicer
from stigma_api.grpc_api.executions import AgentExecutionServicer, WorkflowExecutionServicer
from stigma_api.grpc_api.sessions import AgentSessionServicer
from stigma_api.services import Services

NAMES: tuple[str, ...] = tuple(
    service.full_name
    for file in (
        agent_service_pb2,
        agent_execution_service_pb2,
        agent_session_service_pb2,
        workflow_service_pb2,
        workflow_execution_service_pb2,
        diagnosis_service_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
)
"""Full names of the proto services."""


def register(services: Services, server: grpc.aio.Server) -> None:
    """Add a servicer of every proto service to a gRPC server."""
    agents, workflows = Kind.AGENT, Kind.WORKFLOW
    add_AgentServiceServicer_to_server(AgentServicer(services.definitions[agents]), server)
    add_AgentExecutionServiceServicer_to_server(
        AgentExecutionServicer(services.executions[agents], services.inputs), server
    )
    add_AgentSessionServiceServicer_to_server(AgentSessionServicer(services.sessions), server)
    add_WorkflowServiceServicer_to_server(WorkflowServicer(services.definitions[workflows]), server)
    add_WorkflowExecutionServiceServicer_to_server(
        WorkflowExecutionServicer(services.executions[workflows]), server
    )
    add_DiagnosisServiceServicer_to_server(DiagnosisServicer(services.diagnosis), server)
