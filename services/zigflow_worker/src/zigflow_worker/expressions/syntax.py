"""The syntax tree of an expression."""

from __future__ import annotations

from typing import Any, TypeAlias


class Node:
    """A part of an expression; `place` is that of its first character."""

    __slots__ = ("place",)

    def __init__(self, place: int) -> None:
        self.place = place


class Identity(Node):
    """`.`."""

    __slots__ = ()


class RecurseDefault(Node):
    """`..`."""

    __slots__ = ()


class Constant(Node):
    """A number or a string."""

    __slots__ = ("value",)

    def __init__(self, place: int, value: Any) -> None:
        self.place = place
        self.value = value


class Interpolation(Node):
    """A string with parts: texts, and nodes whose values are formatted."""

    __slots__ = ("format", "parts")

    def __init__(self, place: int, parts: list[str | Node], name: str) -> None:
        self.place = place
        self.parts = parts
        self.format = name


class Format(Node):
    """`@name`."""

    __slots__ = ("name",)

    def __init__(self, place: int, name: str) -> None:
        self.place = place
        self.name = name


class Variable(Node):
    """`$name`."""

    __slots__ = ("name",)

    def __init__(self, place: int, name: str) -> None:
        self.place = place
        self.name = name


class Step:
    """A step of a path; guarded by a `?`, its errors end its outputs, not those before it."""

    __slots__ = ("guarded",)

    def __init__(self) -> None:
        self.guarded = False


class IndexStep(Step):
    """`[key]` and `.name`."""

    __slots__ = ("key",)

    def __init__(self, key: Node) -> None:
        super().__init__()
        self.key = key


class SliceStep(Step):
    """`[first:last]`."""

    __slots__ = ("first", "last")

    def __init__(self, first: Node | None, last: Node | None) -> None:
        super().__init__()
        self.first = first
        self.last = last


class IterateStep(Step):
    """`[]`."""

    __slots__ = ()


class Path(Node):
    """A subject and the steps from it."""

    __slots__ = ("steps", "subject")

    def __init__(self, place: int, subject: Node, steps: list[Step]) -> None:
        self.place = place
        self.subject = subject
        self.steps = steps


class Try(Node):
    """`try body catch handler`; without a handler, errors end the outputs (`(body)?`)."""

    __slots__ = ("body", "handler")

    def __init__(self, place: int, body: Node, handler: Node | None) -> None:
        self.place = place
        self.body = body
        self.handler = handler


class Collect(Node):
    """`[body]`."""

    __slots__ = ("body",)

    def __init__(self, place: int, body: Node | None) -> None:
        self.place = place
        self.body = body


class Construct(Node):
    """`{key: value, …}`."""

    __slots__ = ("pairs",)

    def __init__(self, place: int, pairs: list[tuple[Node, Node]]) -> None:
        self.place = place
        self.pairs = pairs


class Negate(Node):
    """`-body`."""

    __slots__ = ("body",)

    def __init__(self, place: int, body: Node) -> None:
        self.place = place
        self.body = body


class Sequence(Node):
    """Parts joined by one operator: `|`, `,`, `and`, `or`, `//`."""

    __slots__ = ("operator", "parts")

    def __init__(self, place: int, operator: str, parts: list[Node]) -> None:
        self.place = place
        self.operator = operator
        self.parts = parts


class Arithmetic(Node):
    """Operands joined by operators of one precedence, computed from the left; comparisons too."""

    __slots__ = ("operands", "operators")

    def __init__(self, place: int, operands: list[Node], operators: list[str]) -> None:
        self.place = place
        self.operands = operands
        self.operators = operators


class Update(Node):
    """`target = value` and its kin."""

    __slots__ = ("operator", "target", "value")

    def __init__(self, place: int, operator: str, target: Node, value: Node) -> None:
        self.place = place
        self.operator = operator
        self.target = target
        self.value = value


class If(Node):
    """`if … then … elif … else … end`."""

    __slots__ = ("branches", "otherwise")

    def __init__(
        self, place: int, branches: list[tuple[Node, Node]], otherwise: Node | None
    ) -> None:
        self.place = place
        self.branches = branches
        self.otherwise = otherwise


class Call(Node):
    """A call of a function, a builtin or a parameter."""

    __slots__ = ("arguments", "name")

    def __init__(self, place: int, name: str, arguments: list[Node]) -> None:
        self.place = place
        self.name = name
        self.arguments = arguments


class Definition(Node):
    """`def name(parameters): body; rest`."""

    __slots__ = ("body", "name", "parameters", "rest")

    def __init__(
        self, place: int, name: str, parameters: list[str], body: Node, rest: Node
    ) -> None:
        self.place = place
        self.name = name
        self.parameters = parameters
        self.body = body
        self.rest = rest


class Bind(Node):
    """`source as patterns | body`."""

    __slots__ = ("body", "patterns", "source")

    def __init__(self, place: int, source: Node, patterns: list[Pattern], body: Node) -> None:
        self.place = place
        self.source = source
        self.patterns = patterns
        self.body = body


class Fold(Node):
    """`reduce source as patterns (start; update)`, `foreach …(start; update; extract)`."""

    __slots__ = ("extract", "is_reduce", "patterns", "source", "start", "update")

    def __init__(
        self, place: int, source: Node, patterns: list[Pattern], parts: list[Node], *, reduce: bool
    ) -> None:
        self.place = place
        self.source = source
        self.patterns = patterns
        self.start, self.update = parts[:2]
        self.extract = parts[2] if len(parts) == 3 else None
        self.is_reduce = reduce


class Label(Node):
    """`label $name | body`."""

    __slots__ = ("body", "name")

    def __init__(self, place: int, name: str, body: Node) -> None:
        self.place = place
        self.name = name
        self.body = body


class BreakOut(Node):
    """`break $name`."""

    __slots__ = ("name",)

    def __init__(self, place: int, name: str) -> None:
        self.place = place
        self.name = name


class VariablePattern:
    """`$name` in a pattern."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class ListPattern:
    """`[pattern, …]`."""

    __slots__ = ("items",)

    def __init__(self, items: list[Pattern]) -> None:
        self.items = items


class MapPattern:
    """`{key: pattern, …}`; an entry may name a variable for the whole value besides."""

    __slots__ = ("entries",)

    def __init__(self, entries: list[tuple[Node, str | None, Pattern | None]]) -> None:
        self.entries = entries


Pattern: TypeAlias = VariablePattern | ListPattern | MapPattern
