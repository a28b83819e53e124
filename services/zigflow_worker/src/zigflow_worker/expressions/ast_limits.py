"""Depth of a syntax tree, and the Python frames that running it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zigflow_worker.expressions.engine import Node

BUILTIN, APPLY, DEFINE = "stigma$builtin", "stigma$apply", "stigma$define"
"""Our kinds of nodes: a builtin's call, a call of the expression's own function, its definition."""
_FRAMES = {BUILTIN: 5, "label": 1, "const": 1, "identity": 1, "var": 1, "field": 1}
"""Frames a node itself takes; 2 unless named here."""
_FRAMES_BY_PARTS = frozenset({"str", "object", "if", "parray", "pobject"})
"""Kinds that recurse over their own parts."""


def depth(node: Node, limit: int) -> int:
    """Return how deep a tree is, at most `limit` + 1; without recursion."""
    level: list[Any] = [node]
    deep = 0
    while level and deep <= limit:
        deep += 1
        nodes = [part for part in level if isinstance(part, tuple)]
        lists = [part for part in level if isinstance(part, list)]
        level = [part for node in nodes for part in node if isinstance(part, (tuple, list))]
        level += [part for parts in lists for part in parts if isinstance(part, (tuple, list))]
    return deep


def frames(node: Node) -> int:
    """Return how many Python frames running `node` may take, calls of functions aside."""
    own = _FRAMES.get(node[0], 2)
    if node[0] in _FRAMES_BY_PARTS:
        own += _width(node)
    return own + max(map(frames, _children(node)), default=0)


def _children(part: Any) -> Iterator[Node]:
    """Yield the nodes directly inside, those in lists and pairs included."""
    for item in part:
        if isinstance(item, tuple) and item and isinstance(item[0], str):
            yield item
        elif isinstance(item, (tuple, list)):
            yield from _children(item)


def _width(part: Any) -> int:
    """Return how many frames a node may stack up over its own parts."""
    if part[0] == "object" and all(key[0] == "const" for key, _ in part[1]):
        return 0
    width = sum(len(item) for item in part[1:] if isinstance(item, list))
    return 2 * width if part[0].startswith("p") else width
