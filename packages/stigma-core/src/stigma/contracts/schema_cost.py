"""A bound of what it takes to check values against a JSON Schema.

Validators are native code that nothing interrupts, and schemas come from anybody. How often a
schema's parts are evaluated at one place of a value is counted when it is read, through every
reference; how often in a whole value, before that value is checked. Limits bound both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from stigma.contracts import limits
from stigma.contracts.schema_parts import CostError, Part, read_parts

__all__ = ["CostError", "SchemaCost"]

# Characters times states of patterns that take as long as one evaluation.
_STATES_OF_ONE = 100


class SchemaCost:
    """Bound of the evaluations that a schema takes.

    Args:
        schema: the schema, of any draft.

    Raises:
        CostError: it is nested too deep, has too many patterns, or evaluates too much at one place.
    """

    def __init__(self, schema: Any) -> None:
        _check_depth(schema)
        self._root = _root_of(read_parts(schema)) if isinstance(schema, dict) else None

    def check(self, value: Any) -> bool:
        """Return whether what is wrong with a value may be described, which only costs memory then.

        A validator's description holds a copy of the value for each alternative that it breaks.

        Raises:
            CostError: checking it would take too much.
        """
        if self._root is None:
            return True
        left, described = limits.MAX_SCHEMA_EVALUATIONS, _Copies()
        waiting = [_Visit(self._root, value, 1, 0, None)]
        while waiting:
            place, here, times, frames, group = waiting.pop()
            frames += place.frames
            if frames > limits.MAX_SCHEMA_FRAMES:
                raise CostError("nests schema and value too deep for each other")
            left -= times * place.cost(here)
            if group is None and place.alternatives:
                group = described.new_group()
            described.add(group, times * place.own, here)
            for (inner, count), child in place.below(here):
                if left < 0:
                    break
                if inner.is_leaf:
                    left -= times * count * inner.own
                    described.add(group, times * count * inner.own, child)
                else:
                    waiting.append(_Visit(inner, child, times * count, frames, group))
            if left < 0:
                raise CostError(
                    f"takes more than {limits.MAX_SCHEMA_EVALUATIONS} evaluations of subschemas"
                )
        return described.few


class _Copies:
    """Bytes of the copies that a description holds: those of one group of alternatives."""

    def __init__(self) -> None:
        self.few = True
        self._groups: list[int] = []

    def new_group(self) -> int:
        """Return the group of alternatives that are not inside of others."""
        self._groups.append(0)
        return len(self._groups) - 1

    def add(self, group: int | None, copies: int, value: Any) -> None:
        """Count copies of a value, until there are too many."""
        if group is None or not self.few:
            return
        room = limits.MAX_DESCRIPTION_BYTES - self._groups[group]
        self._groups[group] += copies * _size(value, room // max(copies, 1))
        self.few = self._groups[group] <= limits.MAX_DESCRIPTION_BYTES


class _Place:
    """All that is evaluated at one place of a value: a subschema, and all beside it.

    Attributes:
        own: evaluations at the place itself, each counted as often as it is made.
        frames: how deep they are nested.
        is_leaf: whether they cost as much whatever the value is.
        alternatives: whether some of them may fail while the whole holds.
    """

    def __init__(self, part: Part) -> None:
        self.own = part.own
        self.frames = 1
        self.is_leaf = False
        self.alternatives = part.alternatives
        self._states = part.states
        self._name_states = part.name_states
        self._compares = int(part.unique)
        self._members = {name: Counter(parts) for name, parts in part.members.items()}
        self._each_member = Counter(part.each_member)
        self._names = Counter(part.names)
        self._items = [Counter(parts) for parts in part.items]
        self._each_item = Counter(part.each_item)

    def include(self, other: _Place, times: int) -> int:
        """Add what is evaluated beside it so often; return how many entries that made or raised."""
        self.own += times * other.own
        self.frames = max(self.frames, other.frames + 1)
        self.alternatives = self.alternatives or other.alternatives
        self._states += times * other._states
        self._name_states += times * other._name_states
        self._compares += times * other._compares
        self._items += [Counter() for _ in other._items[len(self._items) :]]
        for name in other._members:
            self._members.setdefault(name, Counter())
        pairs = [
            *((self._members[name], parts) for name, parts in other._members.items()),
            *zip(self._items, other._items, strict=False),
            (self._each_member, other._each_member),
            (self._names, other._names),
            (self._each_item, other._each_item),
        ]
        for ours, theirs in pairs:
            for part, count in theirs.items():
                ours[part] += times * count
        return sum(len(theirs) for _, theirs in pairs)

    def link(self, places: Mapping[Part, _Place]) -> None:
        """Replace parts by places, once all are known."""

        def linked(parts: Counter[Part]) -> tuple[_Counted, ...]:
            return tuple((places[part], count) for part, count in parts.items())

        self.members = {name: linked(parts) for name, parts in self._members.items()}
        self.each_member, self.names = linked(self._each_member), linked(self._names)
        self.items = [linked(parts) for parts in self._items]
        self.each_item = linked(self._each_item)
        below = (self.members, self.each_member, self.names, self.items, self.each_item)
        texts = (self._states, self._name_states, self._compares)
        self.is_leaf = not any(below) and not any(texts) and not self.alternatives

    def cost(self, value: Any) -> int:
        """Return evaluations at this place, those of its texts and of comparing items included."""
        if isinstance(value, str):
            return self.own + self._states * len(value) // _STATES_OF_ONE
        if isinstance(value, dict) and self._name_states:
            return self.own + self._name_states * sum(map(len, value)) // _STATES_OF_ONE
        if isinstance(value, list):
            return self.own + self._compares * len(value)
        return self.own

    def below(self, value: Any) -> Iterator[tuple[_Counted, Any]]:
        """Yield what is evaluated at the places inside."""
        if isinstance(value, dict):
            for name, child in value.items():
                for counted in (*self.members.get(name, ()), *self.each_member):
                    yield counted, child
                for counted in self.names:
                    yield counted, name
        elif isinstance(value, list):
            for index, child in enumerate(value):
                known = self.items[index] if index < len(self.items) else ()
                for counted in (*known, *self.each_item):
                    yield counted, child


_Counted: TypeAlias = tuple[_Place, int]


class _Visit(NamedTuple):
    place: _Place
    value: Any
    times: int
    frames: int
    group: int | None


def _root_of(parts: Sequence[Part]) -> _Place:
    """Return the place of the first part."""
    places: dict[Part, _Place] = {}
    entries = 0
    for part in _inner_first(parts):
        place = places[part] = _Place(part)
        for other, times in Counter(part.beside).items():
            entries += place.include(places[other], times * part.repeats)
        if max(place.own, entries // 10) > limits.MAX_SCHEMA_EVALUATIONS_AT_ONCE:
            raise CostError(
                f"evaluates more than {limits.MAX_SCHEMA_EVALUATIONS_AT_ONCE} subschemas at one "
                f"place of a value, at {part.pointer or '/'}"
            )
    for place in places.values():
        place.link(places)
    return places[parts[0]]


def _inner_first(parts: Iterable[Part]) -> Iterator[Part]:
    """Yield each part after those beside it."""
    begun: set[Part] = set()
    done: set[Part] = set()
    for first in parts:
        path = [(first, iter(first.beside))] if first not in done else []
        begun.add(first)
        while path:
            part, others = path[-1]
            other = next(others, None)
            if other is None:
                path.pop()
                done.add(part)
                yield part
            elif other not in begun:
                begun.add(other)
                path.append((other, iter(other.beside)))
            elif other not in done:
                raise CostError(
                    f"refers to itself at the same place of a value, at {part.pointer or '/'}"
                )


def _check_depth(schema: Any) -> None:
    level = [schema]
    for _ in range(limits.MAX_SCHEMA_DEPTH + 1):
        level = [child for each in level for child in _children(each)]
        if not level:
            return
    raise CostError(f"is nested more than {limits.MAX_SCHEMA_DEPTH} deep")


def _size(value: Any, most: int) -> int:
    """Return the bytes of a value, roughly; of one that has more, some more than ``most``."""
    size, waiting = 0, [value]
    while waiting and size <= most:
        each = waiting.pop()
        size += 16 + (len(each) if isinstance(each, str) else 0)
        if isinstance(each, dict):
            size += sum(map(len, each))
        waiting += _children(each)
    return size


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
