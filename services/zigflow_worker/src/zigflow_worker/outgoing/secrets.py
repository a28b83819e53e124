"""Secrets of documents: files, read at each use, and the hosts that each may go to.

A secret NAME is a file of that name (a JSON object, or else a text) or a folder of files, as a
Kubernetes Secret is mounted: an object of texts. The file NAME.hosts, where there is one, has globs
of the hosts that it may go to, one a line.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from stigma.contracts import json_text
from zigflow_worker.errors import AUTHORIZATION, WorkflowError
from zigflow_worker.expressions import JSON

_MAX_BYTES = 64 * 1024
_MAX_FILES = 100


class SecretDirectory:
    """Reads secrets."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def read(self, name: str) -> JSON:
        """Return a secret's value (raises WorkflowError: `authorization`, 403)."""
        path = self._path(name)
        try:
            if path.is_dir():
                return _read_folder(path)
            return _value_of(_read_text(path))
        except FileNotFoundError:
            raise _refused(f"there is no secret '{name}'") from None
        except (OSError, UnicodeDecodeError, ValueError):
            raise _refused(f"the secret '{name}' cannot be read") from None

    def hosts(self, name: str) -> Collection[str] | None:
        """Return globs of the hosts that a secret may go to; None: any."""
        path = self._path(name)
        try:
            text = _read_text(path.with_name(f"{name}.hosts"))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError, ValueError):
            raise _refused(f"the hosts of the secret '{name}' cannot be read") from None
        lines = (line.strip().lower() for line in text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]

    def _path(self, name: str) -> Path:
        if self._directory is None:
            raise _refused(f"there is no secret '{name}': STIGMA_SECRETS_DIR is not set")
        return self._directory / name


class CallSecrets:
    """Secrets of one call, or of its authentication: declared ones, and those read so far."""

    def __init__(self, directory: SecretDirectory, declared: Collection[str]) -> None:
        self._directory = directory
        self._declared = declared
        self._hosts: dict[str, Collection[str] | None] = {}
        self._values: dict[str, JSON] = {}

    @property
    def used(self) -> bool:
        """Whether any was read."""
        return bool(self._hosts)

    def value(self, name: str) -> JSON:
        """Return the value of a secret (raises WorkflowError: `authorization`, 403)."""
        if name not in self._declared:
            raise _refused(f"the secret '{name}' is not declared in 'use.secrets'")
        self._hosts[name] = self._directory.hosts(name)
        self._values[name] = self._directory.read(name)
        return self._values[name]

    def texts(self) -> Iterator[str]:
        """Yield the texts in all secrets read, for redaction; names in them are none."""
        for value in self._values.values():
            yield from (each for each in json_text.values_in(value) if isinstance(each, str))

    def check_host(self, host: str) -> None:
        """Check that all secrets read may go to a host.

        Raises:
            WorkflowError: of type `authorization`, status 403.
        """
        name = host.rstrip(".").lower()
        for secret, globs in self._hosts.items():
            if globs is not None and not any(fnmatchcase(name, glob) for glob in globs):
                raise _refused(f"the secret '{secret}' may not go to the host '{host}'")


def _read_folder(path: Path) -> JSON:
    # A mounted Secret has links to `..data`, which is switched when it changes.
    files = sorted(file for file in path.iterdir() if not file.name.startswith("."))
    if len(files) > _MAX_FILES:
        raise ValueError("too many files")
    return {file.name: _read_text(file) for file in files if file.is_file()}


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError("too large")
    return content.decode().removesuffix("\n").removesuffix("\r")


def _value_of(text: str) -> JSON:
    try:
        value: JSON = json.loads(text) if text.lstrip().startswith("{") else text
    except ValueError:
        return text
    return value


def _refused(detail: str) -> WorkflowError:
    return WorkflowError.of(AUTHORIZATION, detail)
