"""What a provider reports of an answer while the model is still writing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from stigma.contracts.partial_text import PartialText

_CURRENT: ContextVar[PartialText | None] = ContextVar("partial_text", default=None)


def report(text: str) -> None:
    """Report text that the model has written; it does nothing for a call that nobody watches."""
    current = _CURRENT.get()
    if current is not None:
        current.add(text)


@contextmanager
def reported_to(partial_text: PartialText | None) -> Iterator[None]:
    """Collect what is reported within the body."""
    token = _CURRENT.set(partial_text)
    try:
        yield
    finally:
        _CURRENT.reset(token)
