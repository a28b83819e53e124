"""Bearer authentication (RFC 6750) with a token that is given."""

from __future__ import annotations

from zigflow_worker.outgoing.authentication.constant import ConstantAuthentication
from zigflow_worker.outgoing.authentication.policies import BearerPolicy, PolicySecrets


def bearer_authentication(policy: BearerPolicy, secrets: PolicySecrets) -> ConstantAuthentication:
    """Return what sends the token with each request."""
    return ConstantAuthentication("Bearer", policy.token, secrets)
