"""Files that are loaded again when they change: certificates, and who may do what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class ReloadedFiles(Generic[T]):
    """A value loaded from files, and again whenever one of them has changed.

    Args:
        files: their times of modification are compared.
        load: reads them; raises OSError while they cannot be read.
        value: what was loaded from them some time ago; then the first look loads them in any case.

    Raises:
        OSError: they cannot be read.
    """

    def __init__(
        self, files: tuple[Path, ...], load: Callable[[], T], *, value: T | None = None
    ) -> None:
        self._files = files
        self._load = load
        self._modified: tuple[int, ...] = () if value is not None else self._modification_times()
        self.value = value if value is not None else load()

    def reload_if_changed(self) -> T | None:
        """Return the value of changed files; None while they are the same, or half-written."""
        try:
            return self.reload()
        except OSError:
            return None  # what was loaded still serves, and the next call tries again

    def reload(self) -> T | None:
        """Return the value of changed files; None while they are the same.

        Raises:
            OSError: they cannot be read; the next call tries again.
            Exception: as `load` raises it; those files are not loaded again before they change.
        """
        modified = self._modification_times()
        if modified == self._modified:
            return None
        try:
            self.value = self._load()
        except OSError:
            raise
        except Exception:
            self._modified = modified
            raise
        self._modified = modified
        return self.value

    def _modification_times(self) -> tuple[int, ...]:
        return tuple(file.stat().st_mtime_ns for file in self._files)
