"""Finds a secret in bytes, in whatever form it may have been written there."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Iterable, Mapping

_EDGE = 4
"""Characters of base64 that depend on what stands beside the secret."""


def forms(secret: bytes) -> dict[str, bytes]:
    """Every way a secret is written in logs, dumps, headers and JSON, by the way's name."""
    text = secret.decode("latin-1")
    found = {
        "raw": secret,
        "hex": secret.hex().encode(),
        "HEX": secret.hex().upper().encode(),
        "repr": repr(secret)[2:-1].encode(),
        "octal": "".join(_octal(byte) for byte in secret).encode(),
        "hex escapes": "".join(f"\\x{byte:02x}" for byte in secret).encode(),
        "json": json.dumps(text)[1:-1].encode(),
        "json in json": json.dumps(json.dumps(text))[2:-2].encode(),
        "utf-8": text.encode(),
        "list": ", ".join(map(str, secret)).encode(),
        "short list": ",".join(map(str, secret)).encode(),
        "percent": urllib.parse.quote(secret, safe="").encode(),
    }
    for offset in range(3):  # within other bytes, it may start at any of three places
        shifted = base64.b64encode(b"\0" * offset + secret).rstrip(b"=")[_EDGE:-_EDGE]
        found[f"base64 at {offset}"] = shifted
        found[f"url-safe base64 at {offset}"] = shifted.replace(b"+", b"-").replace(b"/", b"_")
    return found


def leaks(secrets: Mapping[str, bytes], places: Mapping[str, bytes]) -> list[str]:
    """Which secret is where, in which form: empty when all is well. Quotes no secret."""
    return [
        f"{name} as {form} in {place}"
        for name, secret in secrets.items()
        for form, written in forms(secret).items()
        for place, content in places.items()
        if written in content
    ]


def of_token(number: int, token: bytes) -> Iterable[tuple[str, bytes]]:
    """A token is a secret whole, and by what only a token starts with."""
    yield f"token {number}", token
    yield f"start of token {number}", token[: 2 + 36 + 2]


def _octal(byte: int) -> str:
    """As protobuf's text format writes bytes."""
    plain = {10: "\\n", 13: "\\r", 9: "\\t", 34: '\\"', 39: "\\'", 92: "\\\\"}
    if byte in plain:
        return plain[byte]
    return chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"
