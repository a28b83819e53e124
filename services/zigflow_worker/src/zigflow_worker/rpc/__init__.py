"""gRPC: descriptors of services from protos or by reflection, messages as JSON, and calls."""

from __future__ import annotations

from zigflow_worker.rpc.calls import Connection, RpcClient
from zigflow_worker.rpc.descriptors import Method, find_method
from zigflow_worker.rpc.protos import ProtoCompiler
from zigflow_worker.rpc.shared_descriptors import SharedDescriptors
from zigflow_worker.rpc.targets import Target

__all__ = [
    "Connection",
    "Method",
    "ProtoCompiler",
    "RpcClient",
    "SharedDescriptors",
    "Target",
    "find_method",
]
