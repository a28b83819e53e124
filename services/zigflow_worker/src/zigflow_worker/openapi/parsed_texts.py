"""Documents as data, kept: each is read again for every other one that it refers to."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from zigflow_worker.expressions import JSON
from zigflow_worker.loading import load_foreign

_ENTRY_CHARACTERS = 256
"""Characters that a text counts for, besides its own."""


class ParsedTexts:
    """The latest texts as data, which nobody may change; threads may share it.

    Args:
        characters: of all texts kept. As data one may take 20 times that in bytes.
    """

    def __init__(self, characters: int) -> None:
        self._left = characters
        self._kept: OrderedDict[str, JSON] = OrderedDict()
        self._lock = Lock()

    def parse(self, text: str) -> JSON:
        """Return a text as data (raises DocumentError)."""
        with self._lock:
            if text in self._kept:
                self._kept.move_to_end(text)
                return self._kept[text]
        data = load_foreign(text)
        with self._lock:
            self._keep(text, data)
        return data

    def _keep(self, text: str, data: JSON) -> None:
        if text not in self._kept:
            self._left -= _weight(text)
        self._kept[text] = data
        while self._left < 0:
            dropped, _ = self._kept.popitem(last=False)
            self._left += _weight(dropped)


def _weight(text: str) -> int:
    return len(text) + _ENTRY_CHARACTERS
