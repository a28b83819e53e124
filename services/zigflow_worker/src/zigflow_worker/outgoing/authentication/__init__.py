"""Authentication of calls: a scheme each, and the tokens that calls share."""

from __future__ import annotations

from zigflow_worker.outgoing.authentication.policies import PolicySecrets
from zigflow_worker.outgoing.authentication.schemes import authentication_of
from zigflow_worker.outgoing.authentication.tokens import TokenCache

__all__ = ["PolicySecrets", "TokenCache", "authentication_of"]
