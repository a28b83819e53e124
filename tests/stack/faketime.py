"""Programs to whom it is another time: libfaketime in front of the C library."""

from __future__ import annotations

from pathlib import Path

import pytest

_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib")


def other_clock(seconds: float) -> dict[str, str]:
    """Return variables of a process whose clock is ahead, or behind; skip the test without it."""
    folders = (Path(folder, "faketime") for folder in _FOLDERS)
    library = next((path for each in folders for path in each.glob("libfaketimeMT.so*")), None)
    if library is None:
        pytest.skip("libfaketime is not installed: apt-get install faketime")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{seconds:+.0f}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
