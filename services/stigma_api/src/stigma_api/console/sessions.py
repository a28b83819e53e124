"""What a browser shows instead of an API key: a signed cookie that says who signed in.

Nothing is kept on the server, so every replica with the same secret takes it. It ends by its time,
with the key it was given for, and with the secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from datetime import timedelta

from stigma_api.access.principals import Principal, Principals

LIFETIME = timedelta(hours=12)


class Sessions:
    """Issues and checks session cookies.

    Args:
        principals: who may sign in.
        secret: signs the cookies; empty: one of this process alone, so that a restart, or another
            replica, asks to sign in again.
    """

    def __init__(self, principals: Principals, secret: str = "") -> None:
        self._principals = principals
        self._secret = secret.encode() or secrets.token_bytes(32)

    def issue(self, key: str) -> tuple[Principal, str] | None:
        """Return whose API key this is, and the cookie's value; None for nobody's."""
        principal = self._principals.by_key(key)
        if principal is None:
            return None
        content = {
            "principal": principal.name,
            "key": self._mark(hashlib.sha256(key.encode()).hexdigest()),
            "expires": int(time.time() + LIFETIME.total_seconds()),
        }
        text = base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
        return principal, f"{text}.{self._signature(text)}"

    def principal(self, cookie: str) -> Principal | None:
        """Return who signed in; None when the cookie is not ours, too old, or its key is gone."""
        text, _, signature = cookie.partition(".")
        if not hmac.compare_digest(self._signature(text).encode(), signature.encode()):
            return None
        try:
            content = json.loads(base64.urlsafe_b64decode(text))
        except (binascii.Error, ValueError):  # of a release that wrote it otherwise
            return None
        if content["expires"] < time.time():
            return None
        principal = self._principals.by_name(content["principal"])
        if principal is None or content["key"] not in map(self._mark, principal.key_sha256):
            return None
        return principal

    def _mark(self, key_sha256: str) -> str:
        """Tell a principal's keys apart without showing their hashes."""
        return self._hmac(f"key:{key_sha256}")[:16]

    def _signature(self, text: str) -> str:
        return self._hmac(f"session:{text}")

    def _hmac(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
