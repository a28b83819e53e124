"""Basic authentication (RFC 7617)."""

from __future__ import annotations

import base64

from zigflow_worker.outgoing.authentication.constant import ConstantAuthentication
from zigflow_worker.outgoing.authentication.policies import BasicPolicy, PolicySecrets


def basic_parameter(username: str, password: str) -> str:
    """Return the credentials as they follow `Basic `; UTF-8."""
    return base64.b64encode(f"{username}:{password}".encode()).decode()


def basic_authentication(policy: BasicPolicy, secrets: PolicySecrets) -> ConstantAuthentication:
    """Return what sends username and password with each request."""
    return ConstantAuthentication(
        "Basic", basic_parameter(policy.username, policy.password), secrets
    )
