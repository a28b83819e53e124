"""The schemes that policies may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from zigflow_worker.errors import CONFIGURATION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.outgoing.authentication.basic import basic_authentication
from zigflow_worker.outgoing.authentication.bearer import bearer_authentication
from zigflow_worker.outgoing.authentication.digest import DigestAuthentication
from zigflow_worker.outgoing.authentication.oauth2 import TokenAuthentication, endpoint_below
from zigflow_worker.outgoing.authentication.oidc import discovered_endpoint
from zigflow_worker.outgoing.authentication.policies import (
    BasicPolicy,
    BearerPolicy,
    DigestPolicy,
    OAuth2Policy,
    OidcPolicy,
    PolicySecrets,
    settings_of,
)
from zigflow_worker.outgoing.authentication.tokens import TokenCache
from zigflow_worker.outgoing.messages import Authentication, HttpSender

Policy: TypeAlias = Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """The things that an authentication works with, besides its policy."""

    secrets: PolicySecrets
    sender: HttpSender
    tokens: TokenCache


def authentication_of(
    policy: JSON, *, secrets: PolicySecrets, sender: HttpSender, tokens: TokenCache
) -> Authentication:
    """Return the authentication of one call, by its policy with all references resolved.

    Raises:
        WorkflowError: of type `configuration`, status 400, where the policy, or the secret that has
            its settings, is wrong; of type `authorization`, status 403, where the secret is not
            to be had.
    """
    scheme = next(iter(policy), "") if isinstance(policy, dict) else ""
    if not isinstance(policy, dict) or scheme not in _SCHEMES:
        raise WorkflowError.of(CONFIGURATION, "the authentication is of no scheme known here")
    return _SCHEMES[scheme](policy, _Surroundings(secrets, sender, tokens))


def _basic(policy: Policy, around: _Surroundings) -> Authentication:
    settings = settings_of(BasicPolicy, policy, "basic", around.secrets)
    return basic_authentication(settings, around.secrets)


def _bearer(policy: Policy, around: _Surroundings) -> Authentication:
    settings = settings_of(BearerPolicy, policy, "bearer", around.secrets)
    return bearer_authentication(settings, around.secrets)


def _digest(policy: Policy, around: _Surroundings) -> Authentication:
    settings = settings_of(DigestPolicy, policy, "digest", around.secrets)
    return DigestAuthentication(settings, around.secrets)


def _oauth2(policy: Policy, around: _Surroundings) -> Authentication:
    settings = settings_of(OAuth2Policy, policy, "oauth2", around.secrets)
    endpoint = endpoint_below(settings.authority, settings.endpoints.token)

    async def find() -> str:
        return endpoint

    return TokenAuthentication(settings, find, around.secrets, around.sender, around.tokens)


def _oidc(policy: Policy, around: _Surroundings) -> Authentication:
    settings = settings_of(OidcPolicy, policy, "oidc", around.secrets)
    find = partial(discovered_endpoint, settings.authority, around.sender, around.tokens)
    return TokenAuthentication(settings, find, around.secrets, around.sender, around.tokens)


_SCHEMES: Mapping[str, Callable[[Policy, _Surroundings], Authentication]] = {
    "basic": _basic,
    "bearer": _bearer,
    "digest": _digest,
    "oauth2": _oauth2,
    "oidc": _oidc,
}
