"""Words that are meant, but misspelt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import islice

_SIMILARITY, _SIMILARITY_OF_SHORT = 0.6, 0.5
_SHORT = 3
"""Letters of a word up to which one that is wrong is much of it."""
_MOST_WORDS = 400
_LONGEST = 100
_SEPARATORS = str.maketrans("", "", "_-")


def is_misspelt(key: str, unknown: Sequence[str]) -> bool:
    """Return whether one of the unknown keys of a map is a misspelling of a key."""
    return closest(key, unknown) is not None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ", did you mean 'WORD'?" for the known word that is closest, "" where none is close.

    Case, dashes and underscores make no difference. Of many known words, the first are compared.
    """
    close = closest(word, known)
    return "" if close is None else f", did you mean '{close}'?"


def closest(word: str, known: Iterable[str], *, similarity: float | None = None) -> str | None:
    """Return the known word that another one is, or is a misspelling of; None: there is none.

    Args:
        word: of which case, dashes and underscores make no difference.
        known: of many, the first are compared.
        similarity: from 0 to 1, from which a word is a misspelling; None: as `did_you_mean` has it.
    """
    spellings = {_plain(each): each for each in islice(known, _MOST_WORDS) if len(each) <= _LONGEST}
    if not spellings or len(word) > _LONGEST:
        return None
    cutoff = similarity or (_SIMILARITY if len(word) > _SHORT else _SIMILARITY_OF_SHORT)
    found = get_close_matches(_plain(word), spellings, n=1, cutoff=cutoff)
    is_close = found and (len(word) > _SHORT or found[0][:1] == _plain(word)[:1])
    return spellings[found[0]] if is_close else None


def _plain(word: str) -> str:
    return word.lower().translate(_SEPARATORS)
