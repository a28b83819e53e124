"""Reads `use.functions`: tasks that others call by name."""

from __future__ import annotations

from zigflow_worker.definition.model import TaskDefinition
from zigflow_worker.definition.nodes import Node
from zigflow_worker.definition.reader import Reader

CALLS_OF_THE_LANGUAGE = ("a2a", "agent", "asyncapi", "grpc", "http", "mcp", "openapi")
"""Names of calls that no function may have."""


def read_function(name: str, node: Node, reader: Reader) -> TaskDefinition:
    """Read one function, which is a task of any kind."""
    with node.part():
        if name in CALLS_OF_THE_LANGUAGE:
            raise node.error(f"a function cannot have the name '{name}', which is a call's")
        if not is_function_name(name):
            raise node.error(f"'{name}' is not a function's name: it has ':', '@' or a blank")
    with node.part():
        return reader.task(name, node)
    return TaskDefinition(name, node)


def is_function_name(name: str) -> bool:
    """Return whether a document can define a function of that name: others are in catalogs."""
    return bool(name) and not any(character in ":@" or character.isspace() for character in name)
