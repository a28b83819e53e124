"""Session cookies: signed, they say who signed in, so that a browser does not keep the API key.

Nothing is kept on the server, so every replica with the same secret accepts a cookie. A session
ends by its time, with the key it was given for, and with the secret.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from datetime import timedelta

from itsdangerous import BadData, URLSafeTimedSerializer

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
        self._serializer = URLSafeTimedSerializer(
            secret or secrets.token_bytes(32),
            salt="session",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    def issue(self, key: str) -> tuple[Principal, str] | None:
        """Return the principal of an API key, and the cookie's value; None for an unknown key."""
        principal = self._principals.by_key(key)
        if principal is None:
            return None
        key_sha256 = hashlib.sha256(key.encode()).hexdigest()
        content = {"principal": principal.name, "key": self._key_mark(key_sha256)}
        return principal, str(self._serializer.dumps(content))

    def principal(self, cookie: str) -> Principal | None:
        """Return who signed in; None when the cookie is not ours, too old, or its key is gone."""
        try:
            # No `max_age`: that also refuses cookies of a replica whose clock is ahead.
            content, issued = self._serializer.loads(cookie, return_timestamp=True)
        except BadData:
            return None
        if time.time() - issued.timestamp() > LIFETIME.total_seconds():
            return None
        principal = self._principals.by_name(content["principal"])
        if principal is None or content["key"] not in map(self._key_mark, principal.key_sha256):
            return None
        return principal

    def _key_mark(self, key_sha256: str) -> str:
        """Return a mark that tells a principal's keys apart without showing their hashes."""
        signer = self._serializer.make_signer("key")
        return signer.get_signature(key_sha256).decode()
