"""Where a service is served."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from zigflow_worker.errors import CONFIGURATION, WorkflowError

_TLS_PORT, _PLAIN_PORT = 443, 80


@dataclass(frozen=True, slots=True)
class Target:
    """Host and port of a service; `secure`: over TLS."""

    host: str
    port: int
    secure: bool

    @classmethod
    def of(cls, host: str, port: int | None) -> Target:
        """Return the target of a host, or of a URL `http://` or `https://`, and a port.

        Without a port it is 443, and 80 for `http://`. TLS is used for `https://` and on port 443.

        Raises:
            WorkflowError: of type `configuration`.
        """
        scheme, found, rest = host.partition("://")
        parts = _split(rest if found else host)
        if found and scheme not in ("http", "https"):
            raise misconfigured(f"'{host}' is no address of a gRPC service")
        if port is not None and parts.port not in (None, port):
            raise misconfigured(f"'{host}' and the port {port} contradict each other")
        default = _PLAIN_PORT if scheme == "http" and found else _TLS_PORT
        number = parts.port or (default if port is None else port)
        if not 0 < number <= 65535:
            raise misconfigured(f"{number} is no port")
        secure = scheme == "https" if found else number == _TLS_PORT
        return cls(parts.hostname or "", number, secure)

    @property
    def authority(self) -> str:
        """The host with its port, as a URL has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL of the target, without a path."""
        return f"{'https' if self.secure else 'http'}://{self.authority}"


def _split(authority: str) -> SplitResult:
    text = authority.removesuffix("/")
    try:
        parts = urlsplit(f"//{text}")
        _ = parts.port
    except ValueError:
        raise misconfigured(f"'{text}' is no address of a gRPC service") from None
    if not parts.hostname or parts.path or parts.query or parts.fragment or "@" in text:
        raise misconfigured(f"'{text}' is no address of a gRPC service")
    if not all("!" <= character <= "~" for character in text):
        raise misconfigured("a gRPC service's host has characters that none has")
    return parts


def misconfigured(message: str) -> WorkflowError:
    """Return an error of what the document says of a service."""
    return WorkflowError.of(CONFIGURATION, message)
