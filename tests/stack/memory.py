"""Memory that this process takes at most."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_PEAK = "5"


@contextmanager
def memory_growth() -> Iterator[Callable[[], int]]:
    """Give a function that returns the bytes by which memory has grown at most since the beginning.

    Of the whole process, by the kernel's count (`man 5 proc`, clear_refs). `tracemalloc` would not
    do: when it stops, it crashes a process in which threads of other languages use Python.
    """
    Path("/proc/self/clear_refs").write_text(_CLEAR_PEAK)
    before = _bytes("VmRSS")
    yield lambda: _bytes("VmHWM") - before


def _bytes(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    assert found, name
    return int(found[1]) * 1024
