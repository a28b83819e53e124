"""Authentication of callers, by bearer key or by client certificate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc

from stigma_api.access.principals import LOCAL, Principal, Principals
from stigma_api.errors import ApiError

_SCHEME = "bearer "


class Authenticator:
    """Finds the principal of a call."""

    def __init__(self, principals: Principals | None) -> None:
        """Authenticate callers; without principals, every caller is "local"."""
        self._principals = principals

    def authenticate(
        self, metadata: Mapping[str, str | bytes], peer: Mapping[str, Sequence[bytes]]
    ) -> Principal:
        """Return the caller.

        Args:
            metadata: of the call; `authorization: Bearer KEY` is read.
            peer: gRPC's auth context; holds the names in a verified client certificate.

        Raises:
            ApiError: UNAUTHENTICATED.
        """
        if self._principals is None:
            return LOCAL
        authorization = metadata.get("authorization", "")
        if isinstance(authorization, bytes) or not authorization:
            found = self._principals.by_certificate(_names(peer))
            complaint = "send `authorization: Bearer KEY` or a client certificate that is known"
        elif authorization[: len(_SCHEME)].lower() == _SCHEME:
            found = self._principals.by_key(authorization[len(_SCHEME) :].strip())
            complaint = "the API key is not known"
        else:
            found, complaint = None, "the authorization scheme must be Bearer"
        if found is None:
            raise ApiError(grpc.StatusCode.UNAUTHENTICATED, complaint)
        return found


def _names(peer: Mapping[str, Sequence[bytes]]) -> list[str]:
    """Return common name first, then alternative names; none when nothing was verified."""
    if not peer.get("x509_pem_cert"):
        return []
    names = [*peer.get("x509_common_name", ()), *peer.get("x509_subject_alternative_name", ())]
    return [name.decode(errors="replace") for name in names if name]
