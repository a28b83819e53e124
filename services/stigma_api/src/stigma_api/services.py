"""The services behind every door: each method takes the principal first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stigma.contracts.executions import Kind
from stigma_api.definitions.service import DefinitionService
from stigma_api.diagnosis.service import DiagnosisService
from stigma_api.executions.inputs import ExecutionInputs
from stigma_api.executions.lookup import ExecutionLookup
from stigma_api.executions.service import ExecutionService
from stigma_api.executions.sessions import Sessions


@dataclass(frozen=True)
class Services:
    """The services that a door may call."""

    definitions: Mapping[Kind, DefinitionService[Any]]
    executions: Mapping[Kind, ExecutionService[Any, Any, Any]]
    lookup: ExecutionLookup
    inputs: ExecutionInputs
    sessions: Sessions
    diagnosis: DiagnosisService
