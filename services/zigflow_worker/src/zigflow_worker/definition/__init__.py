"""The content of a document: a typed, immutable model, read with the place of every problem."""

from __future__ import annotations

from zigflow_worker.definition.authentications import read_authentication
from zigflow_worker.definition.document import read_definition, read_for_problems
from zigflow_worker.definition.kinds import TaskKinds, TaskSyntax
from zigflow_worker.definition.model import (
    UNREAD,
    AuthenticationDefinition,
    DataRules,
    DurationDefinition,
    ErrorDefinition,
    ExtensionDefinition,
    RetryDefinition,
    SchemaResource,
    TaskDefinition,
    TaskList,
    WorkflowDefinition,
)
from zigflow_worker.definition.node_errors import ConsequenceError, NodeError, TextError
from zigflow_worker.definition.nodes import Node
from zigflow_worker.definition.problems import (
    HeavyDocumentError,
    InvalidDocumentError,
    LooseDocumentError,
    Problem,
    ProblemCollector,
    ProblemList,
)
from zigflow_worker.definition.reader import COMMON_KEYS, Reader

__all__ = [
    "COMMON_KEYS",
    "UNREAD",
    "AuthenticationDefinition",
    "ConsequenceError",
    "DataRules",
    "DurationDefinition",
    "ErrorDefinition",
    "ExtensionDefinition",
    "HeavyDocumentError",
    "InvalidDocumentError",
    "LooseDocumentError",
    "Node",
    "NodeError",
    "Problem",
    "ProblemCollector",
    "ProblemList",
    "Reader",
    "RetryDefinition",
    "SchemaResource",
    "TaskDefinition",
    "TaskKinds",
    "TaskList",
    "TaskSyntax",
    "TextError",
    "WorkflowDefinition",
    "read_authentication",
    "read_definition",
    "read_for_problems",
]
