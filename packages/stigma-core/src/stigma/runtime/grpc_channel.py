"""Client channels: spread over all replicas, with the caller's key only where it is safe."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from stigma.contracts.channels import channel_options, is_loopback, target_of
from stigma.runtime.errors import ConfigurationError


@dataclass(frozen=True)
class ClientTls:
    """How the server is trusted, and who we are to it. Paths of PEM files.

    Args:
        ca: authorities trusted; None: the system's.
        certificate: our certificate, for a server that asks for one (mTLS), with `key`.
        key: its private key.
        server_name: name expected in the server's certificate, where it is not its address's.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""


def open_channel(
    address: str,
    *,
    api_key: str = "",
    tls: ClientTls | None = None,
    allow_insecure: bool = False,
    interceptors: Sequence[Any] = (),
) -> grpc.aio.Channel:
    """A channel to a gRPC service; it connects, and reconnects, by itself.

    Calls are spread over every address behind the name (round robin) and never retried by the
    channel: Temporal's retries are the only ones, so that attempts can be counted.

    Args:
        address: `host:port`, or any gRPC target.
        api_key: sent as `authorization: Bearer …` with every call.
        tls: encrypt; None: in clear.
        allow_insecure: send the key in clear to another machine than this one.
        interceptors: client interceptors, for example tracing's.

    Raises:
        ConfigurationError: the key would travel in clear, or a TLS file cannot be read.
    """
    all_interceptors = list(interceptors)
    if api_key:
        if tls is None and not (is_loopback(address) or allow_insecure):
            raise ConfigurationError(
                f"the API key would be sent to {address} in clear: use TLS, or allow it explicitly"
            )
        all_interceptors += [kind(api_key) for kind in _BEARERS]
    target = target_of(address)
    options = channel_options(address, server_name=tls.server_name if tls is not None else "")
    if tls is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=all_interceptors)
    credentials = _credentials(tls)
    return grpc.aio.secure_channel(
        target, credentials, options=options, interceptors=all_interceptors
    )


def _credentials(tls: ClientTls) -> grpc.ChannelCredentials:
    if (tls.certificate is None) != (tls.key is None):
        raise ConfigurationError("a client certificate and its key go together")
    return grpc.ssl_channel_credentials(
        root_certificates=_read(tls.ca),
        private_key=_read(tls.key),
        certificate_chain=_read(tls.certificate),
    )


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"a TLS file cannot be read: {error}") from error


class _Bearer:
    """Adds the key to a call's metadata.

    Not gRPC's call credentials: those are refused on a channel in clear, loopback included.
    """

    def __init__(self, api_key: str) -> None:
        self._value = f"Bearer {api_key}"

    def _with_key(self, details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
        metadata = grpc.aio.Metadata(*(tuple(details.metadata) if details.metadata else ()))
        metadata["authorization"] = self._value
        return grpc.aio.ClientCallDetails(
            details.method,
            details.timeout,
            metadata,
            details.credentials,
            details.wait_for_ready,
        )


# grpc.aio takes an interceptor for one kind of call only, hence four.
class _UnaryUnary(_Bearer, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(self._with_key(details), request)


class _UnaryStream(_Bearer, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(self._with_key(details), request)


class _StreamUnary(_Bearer, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, details: Any, requests: Any) -> Any:
        return await continuation(self._with_key(details), requests)


class _StreamStream(_Bearer, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return await continuation(self._with_key(details), requests)


_BEARERS = (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)
