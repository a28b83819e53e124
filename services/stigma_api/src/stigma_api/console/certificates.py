"""The console's certificate: renewed files need no restart, as those of the gRPC server."""

from __future__ import annotations

import ssl
from pathlib import Path


class Certificate:
    """A certificate chain and its key, as their files are now.

    Args:
        chain: PEM file.
        key: PEM file.

    Raises:
        OSError: a file cannot be read.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._files = chain, key
        self._loaded = self._stamp()
        self._renewed: ssl.SSLContext | None = None

    def follow(self, context: ssl.SSLContext) -> None:
        """Have a context that has just loaded the files go on with what they become."""
        context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, _name: str, _context: ssl.SSLContext) -> None:
        try:
            now = self._stamp()
            if now != self._loaded:
                # A context of its own: half of a new pair would break the one that serves.
                renewed = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                renewed.load_cert_chain(*self._files)
                self._renewed, self._loaded = renewed, now
        except OSError:
            pass  # half-written: what was loaded still serves, the next handshake looks again
        if self._renewed is not None:
            connection.context = self._renewed

    def _stamp(self) -> tuple[int, ...]:
        return tuple(file.stat().st_mtime_ns for file in self._files)
