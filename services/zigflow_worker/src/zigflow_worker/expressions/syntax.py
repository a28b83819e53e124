"""The syntax tree of an expression."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(slots=True, eq=False)
class Node:
    """A part of an expression; `place` is that of its first character."""

    place: int


@dataclass(slots=True, eq=False)
class Identity(Node):
    """`.`."""


@dataclass(slots=True, eq=False)
class RecurseDefault(Node):
    """`..`."""


@dataclass(slots=True, eq=False)
class Constant(Node):
    """A number or a string."""

    value: Any


@dataclass(slots=True, eq=False)
class Interpolation(Node):
    """A string with parts: texts, and nodes whose values are formatted."""

    parts: list[str | Node]
    format: str


@dataclass(slots=True, eq=False)
class Format(Node):
    """`@name`."""

    name: str


@dataclass(slots=True, eq=False)
class Variable(Node):
    """`$name`."""

    name: str


@dataclass(slots=True, eq=False)
class Step:
    """A step of a path; guarded by a `?`, its errors end its outputs, not those before it."""

    guarded: bool = field(default=False, init=False)


@dataclass(slots=True, eq=False)
class IndexStep(Step):
    """`[key]` and `.name`."""

    key: Node


@dataclass(slots=True, eq=False)
class SliceStep(Step):
    """`[first:last]`."""

    first: Node | None
    last: Node | None


@dataclass(slots=True, eq=False)
class IterateStep(Step):
    """`[]`."""


@dataclass(slots=True, eq=False)
class Path(Node):
    """A subject and the steps from it."""

    subject: Node
    steps: list[Step]


@dataclass(slots=True, eq=False)
class Try(Node):
    """`try body catch handler`; without a handler, errors end the outputs (`(body)?`)."""

    body: Node
    handler: Node | None


@dataclass(slots=True, eq=False)
class Collect(Node):
    """`[body]`."""

    body: Node | None


@dataclass(slots=True, eq=False)
class Construct(Node):
    """`{key: value, …}`."""

    pairs: list[tuple[Node, Node]]


@dataclass(slots=True, eq=False)
class Negate(Node):
    """`-body`."""

    body: Node


@dataclass(slots=True, eq=False)
class Sequence(Node):
    """Parts joined by one operator: `|`, `,`, `and`, `or`, `//`."""

    operator: str
    parts: list[Node]


@dataclass(slots=True, eq=False)
class Arithmetic(Node):
    """Operands joined by operators of one precedence, computed from the left; comparisons too."""

    operands: list[Node]
    operators: list[str]


@dataclass(slots=True, eq=False)
class Update(Node):
    """`target = value` and its kin."""

    operator: str
    target: Node
    value: Node


@dataclass(slots=True, eq=False)
class If(Node):
    """`if … then … elif … else … end`."""

    branches: list[tuple[Node, Node]]
    otherwise: Node | None


@dataclass(slots=True, eq=False)
class Call(Node):
    """A call of a function, a builtin or a parameter."""

    name: str
    arguments: list[Node]


@dataclass(slots=True, eq=False)
class Definition(Node):
    """`def name(parameters): body; rest`."""

    name: str
    parameters: list[str]
    body: Node
    rest: Node


@dataclass(slots=True, eq=False)
class Bind(Node):
    """`source as patterns | body`."""

    source: Node
    patterns: list[Pattern]
    body: Node


@dataclass(slots=True, eq=False)
class Fold(Node):
    """`reduce source as patterns (start; update)`, `foreach …(start; update; extract)`."""

    source: Node
    patterns: list[Pattern]
    start: Node
    update: Node
    extract: Node | None
    is_reduce: bool


@dataclass(slots=True, eq=False)
class Label(Node):
    """`label $name | body`."""

    name: str
    body: Node


@dataclass(slots=True, eq=False)
class BreakOut(Node):
    """`break $name`."""

    name: str


@dataclass(slots=True, eq=False)
class VariablePattern:
    """`$name` in a pattern."""

    name: str


@dataclass(slots=True, eq=False)
class ListPattern:
    """`[pattern, …]`."""

    items: list[Pattern]


@dataclass(slots=True, eq=False)
class MapPattern:
    """`{key: pattern, …}`; an entry may name a variable for the whole value besides."""

    entries: list[tuple[Node, str | None, Pattern | None]]


Pattern: TypeAlias = VariablePattern | ListPattern | MapPattern
