"""Documents in a directory, by name; the directory may change at any time."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from zigflow_worker.loading import DocumentError, load_document

_SUFFIXES = frozenset((".yaml", ".yml", ".json"))
_MAX_BYTES = 4 * 1024 * 1024
"""More than a document may have."""


class UnknownDocumentError(LookupError):
    """No document, or no single one, has that name; one line."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file as last read; `names` is empty when it is not a document."""

    stamp: tuple[int, int, int]
    names: tuple[str, str] | None
    text: str


class DocumentDirectory:
    """Reads the documents of a directory; files are read again when they change."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._entries: dict[Path, _Entry] = {}
        self._lock = threading.Lock()

    def text_of(self, name: str) -> str:
        """Return the text of the document called `name` or `namespace.name`.

        Raises:
            UnknownDocumentError: there is none, or the plain name means several.
        """
        with self._lock:
            self._refresh()
            found = {
                path: entry for path, entry in self._entries.items() if name in (entry.names or ())
            }
        if not found:
            place = self._directory or "no directory (STIGMA_WORKFLOWS_DIR is not set)"
            raise UnknownDocumentError(f"no document is named '{name}' in {place}")
        if len(found) > 1:
            files = ", ".join(sorted(path.name for path in found))
            raise UnknownDocumentError(f"several documents are named '{name}': {files}")
        (entry,) = found.values()
        return entry.text

    def _refresh(self) -> None:
        paths = [] if self._directory is None else self._paths(self._directory)
        for gone in self._entries.keys() - set(paths):
            del self._entries[gone]
        for path in paths:
            try:
                self._read_if_changed(path)
            except OSError:  # it went away since it was listed
                self._entries.pop(path, None)

    def _paths(self, directory: Path) -> list[Path]:
        if not directory.is_dir():
            return []
        return [path for path in directory.iterdir() if path.suffix in _SUFFIXES]

    def _read_if_changed(self, path: Path) -> None:
        # By status of the target: a ConfigMap's files are links that are switched.
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._entries.get(path)
        if known is None or known.stamp != stamp:
            text = path.read_text("utf-8", "replace") if status.st_size <= _MAX_BYTES else ""
            self._entries[path] = _Entry(stamp, _names_of(text), text)


def _names_of(text: str) -> tuple[str, str] | None:
    try:
        data = load_document(text).data
    except DocumentError:
        return None
    document = data.get("document") if isinstance(data, dict) else None
    if not isinstance(document, dict):
        return None
    name, namespace = document.get("name"), document.get("namespace")
    if not isinstance(name, str) or not isinstance(namespace, str):
        return None
    return name, f"{namespace}.{name}"
