"""Files and folders that variables name, checked when a service starts.

What cannot be used is told with its variable: later, it would fail each call that needs it.
Problems are one line each.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

import structlog

from stigma.runtime.errors import ConfigurationError


def unreadable_file(variable: str, path: Path | None) -> Iterator[str]:
    """Yield why a file cannot be read."""
    if path is not None and (problem := _read_problem(path)):
        yield f"{variable}: {problem}"


def missing_folder(variable: str, path: Path | None) -> Iterator[str]:
    """Yield that the folder of a file, which may be made there, does not exist."""
    if path is not None and not path.parent.is_dir():
        yield f"{variable}: there is no folder '{path.parent}'"


def unusable_authorities(variable: str, path: Path | None) -> Iterator[str]:
    """Yield why a file cannot be a PEM file of authorities."""
    if path is not None and (problem := _authorities_problem(path)):
        yield f"{variable}: {problem}"


def unusable_key_pair(
    variables: tuple[str, str], certificate: Path | None, key: Path | None
) -> Iterator[str]:
    """Yield why files cannot be a certificate chain and its key in PEM, which is not encrypted.

    Args:
        variables: that name the two.
        certificate: the file of the chain.
        key: the file of its key.
    """
    if certificate is None or key is None:
        return
    problems = [
        *unreadable_file(variables[0], certificate),
        *unreadable_file(variables[1], key),
    ]
    yield from problems
    if problems:
        return
    try:
        # Without a password of its own, an encrypted key would ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError):
        yield (
            f"{variables[0]}, {variables[1]}: '{certificate}' and '{key}' are no certificate chain "
            "with its key (PEM, not encrypted)"
        )


def check_trusted_authorities(environment: Mapping[str, str] | None = None) -> None:
    """Check the authorities that SSL_CERT_FILE, or else SSL_CERT_DIR, names for outgoing calls.

    Args:
        environment: default: this process's.

    Raises:
        ConfigurationError: there are none.
    """
    env = os.environ if environment is None else environment
    if file := env.get("SSL_CERT_FILE"):
        if problem := _authorities_problem(Path(file)):
            raise ConfigurationError(f"SSL_CERT_FILE: {problem}")
        return
    folders = env.get("SSL_CERT_DIR")
    if folders and not any(Path(each).is_dir() for each in folders.split(os.pathsep)):
        raise ConfigurationError(f"SSL_CERT_DIR: there is no folder '{folders}'")


def warn_of_missing_folder(variable: str, path: Path | None) -> None:
    """Log that a folder of a variable is not there: it may come later."""
    if path is not None and not path.is_dir():
        structlog.get_logger().warning("folder_missing", variable=variable, folder=str(path))


def _read_problem(path: Path) -> str:
    """Return why a file cannot be read; "" where it can."""
    try:
        path.open("rb").close()
    except OSError as error:
        return f"'{path}' cannot be read: {error.strerror}"
    return ""


def _authorities_problem(path: Path) -> str:
    if problem := _read_problem(path):
        return problem
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        return f"'{path}' has no certificates (PEM)"
    return ""
