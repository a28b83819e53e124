"""TLS of servers: a renewed certificate is served without a restart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, cast

import grpc

from stigma.runtime.errors import ConfigurationError

T = TypeVar("T")


@dataclass(frozen=True)
class ServerTls:
    """Paths of PEM files. With `client_ca`, clients must show a certificate it signed (mTLS)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class ReloadedFiles(Generic[T]):
    """A value loaded from files, and again whenever one of them has changed.

    Args:
        files: their times of modification are compared.
        load: reads them; raises OSError while they cannot be read.

    Raises:
        OSError: they cannot be read.
    """

    def __init__(self, files: tuple[Path, ...], load: Callable[[], T]) -> None:
        self._files = files
        self._load = load
        self._modified = self._modification_times()
        self.value = load()

    def reload_if_changed(self) -> T | None:
        """Return the value of changed files; None while they are the same, or half-written."""
        try:
            modified = self._modification_times()
            if modified == self._modified:
                return None
            self.value = self._load()
        except OSError:
            return None  # what was loaded still serves, and the next call tries again
        self._modified = modified
        return self.value

    def _modification_times(self) -> tuple[int, ...]:
        return tuple(file.stat().st_mtime_ns for file in self._files)


def server_credentials(tls: ServerTls) -> grpc.ServerCredentials:
    """Return credentials that follow their files.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    paths = (tls.certificate, tls.key, *((tls.client_ca,) if tls.client_ca is not None else ()))
    try:
        files = ReloadedFiles(paths, lambda: _certificate_configuration(tls))
    except OSError as error:
        raise ConfigurationError(f"a TLS file cannot be read: {error}") from error
    return grpc.dynamic_ssl_server_credentials(
        files.value,
        # None: no change, which the stubs do not know of.
        cast("Callable[[], grpc.ServerCertificateConfiguration]", files.reload_if_changed),
        require_client_authentication=tls.client_ca is not None,
    )


def _certificate_configuration(tls: ServerTls) -> grpc.ServerCertificateConfiguration:
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    authorities = tls.client_ca.read_bytes() if tls.client_ca is not None else None
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=authorities)
