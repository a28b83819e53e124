"""TLS of servers: a renewed certificate is served without a restart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc

from stigma.runtime.errors import ConfigurationError
from stigma.runtime.reloaded_files import ReloadedFiles


@dataclass(frozen=True)
class ServerTls:
    """Paths of PEM files. With `client_ca`, clients must show a certificate it signed (mTLS)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


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
