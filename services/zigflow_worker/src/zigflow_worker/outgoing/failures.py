"""Failures of HTTP exchanges as errors of a run."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import httpcore2

from zigflow_worker.errors import COMMUNICATION, CONFIGURATION, WorkflowError


@contextmanager
def translated_failures(place: str) -> Iterator[None]:
    """Translate failures into errors that name a place; texts of libraries may quote the request.

    Raises:
        WorkflowError: of type `communication`, or `configuration` for what is no HTTP request.
    """
    try:
        yield
    except httpcore2.LocalProtocolError:
        raise WorkflowError.of(CONFIGURATION, f"{place}: not a valid HTTP request") from None
    except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError) as error:
        raise WorkflowError.of(COMMUNICATION, f"{place}: {_reason(error)}") from None
    except ssl.SSLError as error:
        raise WorkflowError.of(COMMUNICATION, f"{place}: {_tls_reason(error)}") from None


def _reason(error: BaseException) -> str:
    tls = _tls_error(error)
    if tls is not None:
        return _tls_reason(tls)
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    return "the exchange failed"


_REASONS = (
    (httpcore2.ConnectTimeout, "no connection within the time for it"),
    (httpcore2.ConnectError, "no connection"),
    (httpcore2.RemoteProtocolError, "the response is no HTTP, or was cut off"),
    (httpcore2.NetworkError, "the connection broke"),
    (httpcore2.TimeoutException, "it took too long"),
)


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS failed: {error.verify_message}"
    return f"TLS failed: {error.reason or 'no handshake'}"
