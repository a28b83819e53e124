"""Size of the automaton that matches a regular expression of a schema."""

from __future__ import annotations

import re

# Unicode classes become automata of several hundred states.
_CLASS_STATES = 50
_COUNT = re.compile(r"\{(\d{1,9})(?:,(\d{0,9}))?\}")
_BRACED = re.compile(r"\{[^}]*\}")
_WIDE = frozenset("wWdDsSpPbB")
# Look-around and back references are matched by trying, not by an automaton.
_BACKTRACKING = re.compile(r"\(\?(?:[=!]|<[=!]|>)|\\[1-9k]")
_BACKTRACKING_FACTOR = 100


def pattern_states(pattern: str) -> int:
    """Return how many states a pattern's automaton has, roughly and not too few.

    Counted repetitions multiply what they repeat, and what an automaton cannot match counts a
    hundredfold. Any text is taken: one that is no regular
    expression is refused by who compiles it.
    """
    groups = [0]  # states of each open group so far
    atom = 0  # states of the last atom, which a repetition is of
    at = 0
    while at < len(pattern):
        char = pattern[at]
        count = _COUNT.match(pattern, at) if char == "{" else None
        if count is not None:
            groups[-1] += atom * (max(int(count[1]), int(count[2] or 0), 1) - 1)
            atom *= max(int(count[1]), int(count[2] or 0), 1)
            at = count.end()
            continue
        at += 1
        if char == "(":
            groups.append(0)
        elif char == ")" and len(groups) > 1:
            atom = groups.pop()
            groups[-1] += atom
        elif char in "*+?|":
            continue
        else:
            at, atom = _atom(pattern, char, at)
            groups[-1] += atom
    return sum(groups) * (_BACKTRACKING_FACTOR if _BACKTRACKING.search(pattern) else 1)


def _atom(pattern: str, char: str, at: int) -> tuple[int, int]:
    """Return where the atom ends that begins with a character before ``at``, and its states."""
    if char == "[":
        return _bracketed(pattern, at)
    if char != "\\" or at >= len(pattern):
        return at, 1
    escaped = pattern[at]
    braces = _BRACED.match(pattern, at + 1) if escaped in "pPux" else None
    return braces.end() if braces else at + 1, _CLASS_STATES if escaped in _WIDE else 1


def _bracketed(pattern: str, at: int) -> tuple[int, int]:
    states = 1
    while at < len(pattern) and pattern[at] != "]":
        if pattern[at] == "\\":
            at += 1
            if pattern[at : at + 1] in _WIDE:
                states += _CLASS_STATES
        at += 1
    return at + 1, states
