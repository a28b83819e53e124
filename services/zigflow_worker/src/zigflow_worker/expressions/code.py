"""Compiled filters: closures over the data, the bound values and the budget.

Each filter is compiled for its values (`gen`, and `get` where it has one output) and for the
places it selects (`paths`). Bound values are linked pairs `(value, outer)`, the variables of the
evaluation at the bottom; so names are resolved to distances when they are compiled, and a
filter that is suspended keeps what it has bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, TypeAlias

from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.errors import JqError
from zigflow_worker.expressions.printing import brief

Scope: TypeAlias = Any
"""Bound values, as linked pairs."""
Place: TypeAlias = Any
"""A path as linked pairs `(outer, key)`, `()` at the root; None for what is no path."""
Get: TypeAlias = Callable[[Any, Scope, Budget], Any]
Gen: TypeAlias = Callable[[Any, Scope, Budget], Iterable[Any]]
Located: TypeAlias = tuple[Place, Any]
Each: TypeAlias = "tuple[Get, Get | None, bool]"
"""The getter of a list or map, what becomes of its items, and whether that may be NOTHING."""
Paths: TypeAlias = Callable[[Located, Scope, Budget], Iterable[Located]]

NOTHING = object()
"""Stands for no output, in a getter of a filter that may have none."""
_REFERENCES = (dict, list, bool, type(None))
_SHIFT = 2
"""Operations of a filter that count as a step: two to this power."""


class Code:
    """A compiled filter.

    `get` computes its one output; where `maybe` is true it may be NOTHING. `weight` counts the
    operations of one run besides those that are counted as they are done, `height` the Python
    frames it stands on. `each` is set where all the filter does is to go through a list
    or map; `names` the keys of a path that is nothing but names,
    `constant` the value of a filter that is nothing else.
    """

    __slots__ = ("constant", "each", "gen", "get", "height", "maybe", "names", "paths", "weight")

    def __init__(
        self,
        gen: Gen,
        paths: Paths | None = None,
        *,
        get: Get | None = None,
        maybe: bool = False,
        weight: int = 1,
        height: int = 1,
        each: Each | None = None,
    ) -> None:
        self.gen = gen
        self.get = get
        self.maybe = maybe
        self.paths = paths or no_paths(gen)
        self.weight = weight
        self.height = height
        self.each = each
        self.names: list[str] | None = None
        self.constant: Any = NOTHING

    @property
    def single(self) -> Get | None:
        """The getter of a filter that always has an output."""
        return None if self.maybe else self.get


def one(
    get: Get, *parts: Code, paths: Paths | None = None, weight: int = 1, height: int = 1
) -> Code:
    """Make a filter with one output, out of `parts`."""
    return Code(
        lambda data, scope, meter: (get(data, scope, meter),),
        paths,
        get=get,
        weight=weight + sum([part.weight for part in parts]),
        height=height + max([part.height for part in parts], default=0),
    )


def optional(
    get: Get, *parts: Code, paths: Paths | None = None, weight: int = 1, height: int = 1
) -> Code:
    """Make a filter with one output or none, out of `parts`."""

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterable[Any]:
        value = get(data, scope, meter)
        return () if value is NOTHING else (value,)

    code = one(get, *parts, paths=paths, weight=weight, height=height + 1)
    code.gen = gen
    code.maybe = True
    if paths is None:
        code.paths = no_paths(gen)
    return code


def many(
    gen: Gen, *parts: Code, paths: Paths | None = None, weight: int = 1, height: int = 1
) -> Code:
    """Make a filter with any number of outputs, out of `parts`."""
    return Code(
        gen,
        paths,
        weight=weight + sum([part.weight for part in parts]),
        height=height + max([part.height for part in parts], default=0),
    )


class Mode(NamedTuple):
    """A purpose that a filter runs for: values, or places with the values there."""

    of: Callable[[Code], Callable[[Any, Scope, Budget], Iterable[Any]]]
    """Returns what runs a filter in this mode."""
    value: Callable[[Any], Any]
    """Returns the value of what is handed on in this mode."""


VALUES = Mode(attrgetter("gen"), lambda item: item)
PLACES = Mode(attrgetter("paths"), itemgetter(1))


def duplex(run: Callable[[Mode, Any, Scope, Budget], Iterable[Any]], *parts: Code) -> Code:
    """Make a filter that is the same for values and for places, out of `parts`."""
    return many(partial(run, VALUES), *parts, paths=partial(run, PLACES))


def no_paths(gen: Gen) -> Paths:
    """Make the path mode of a filter that makes values: only the same value keeps its place."""

    def paths(located: Located, scope: Scope, meter: Budget) -> Iterator[Located]:
        place, data = located
        for value in gen(data, scope, meter):
            yield place if value is data and isinstance(value, _REFERENCES) else None, value

    return paths


def invalid_path(what: str, value: Any) -> JqError:
    """Return the error of a path that goes through a made value."""
    return JqError(f"Invalid path expression {what} {brief(value)}")


def turn(source: Code, *bodies: Code) -> int:
    """Return the steps of handing on an output of `source` to `bodies`."""
    return 1 + (source.height + sum([body.weight for body in bodies]) >> _SHIFT)


def start(code: Code) -> int:
    """Return the steps of one run."""
    return code.weight >> _SHIFT


def product(codes: list[Code], data: Any, scope: Scope, meter: Budget) -> Iterator[list[Any]]:
    """Yield the combinations of outputs, the last varying fastest; always in the same list."""
    steps = 1 + (sum([code.weight + code.height for code in codes]) >> _SHIFT)
    values: list[Any] = [None] * len(codes)
    running = [iter(codes[0].gen(data, scope, meter))]
    while running:
        value = next(running[-1], NOTHING)
        if value is NOTHING:
            running.pop()
            continue
        meter.used += steps
        if meter.used > meter.limit:
            meter.fail()
        values[len(running) - 1] = value
        if len(running) == len(codes):
            yield values
        else:
            running.append(iter(codes[len(running)].gen(data, scope, meter)))


def key_list(place: Place, meter: Budget) -> list[Any]:
    """Return the keys of a place, from the root."""
    keys = []
    while place:
        place, key = place
        keys.append(key)
    meter.spend(len(keys) >> _SHIFT)
    keys.reverse()
    return keys
