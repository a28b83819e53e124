"""Reads `use.extensions`: tasks before and after other tasks."""

from __future__ import annotations

from zigflow_worker.definition.model import ExtensionDefinition, TaskList
from zigflow_worker.definition.nodes import Node
from zigflow_worker.definition.reader import Reader

EXTENDABLE = (
    *("all", "call", "composite", "emit", "for", "listen", "raise", "run", "set", "switch"),
    *("try", "wait"),
)


def read_extensions(node: Node, reader: Reader) -> tuple[ExtensionDefinition, ...]:
    """Read the list of a document's extensions, each under its name."""
    extensions: list[ExtensionDefinition] = []
    names: set[str] = set()
    for name, extension in node.named_items("[{log: {extend: all, before: []}}]"):
        with reader.collecting_problems():
            with extension.part():
                if name in names:
                    raise extension.error(f"two extensions are named '{name}'")
            names.add(name)
            extensions.append(_read_extension(extension, reader))
    return tuple(extensions)


def _read_extension(node: Node, reader: Reader) -> ExtensionDefinition:
    fields = node.fields("extend", "when", "before", "after", required=["extend"])
    extend = ""
    with node.part():
        extend = fields["extend"].text()
        if extend not in EXTENDABLE:
            raise fields["extend"].error(
                f"'{extend}' is none of {', '.join(EXTENDABLE)}", known=EXTENDABLE
            )
    return ExtensionDefinition(
        extend=extend,
        when=reader.expression(fields.get("when")),
        before=_tasks(fields.get("before"), reader),
        after=_tasks(fields.get("after"), reader),
    )


def _tasks(node: Node | None, reader: Reader) -> TaskList | None:
    return None if node is None else reader.task_list(node)
