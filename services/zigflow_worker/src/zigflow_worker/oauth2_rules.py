"""Values and combinations of values that an OAuth2 policy may have."""

from __future__ import annotations

from collections.abc import Collection, Iterator

CLIENT_CREDENTIALS = "client_credentials"
PASSWORD = "password"  # noqa: S105 # the name of a grant
REFRESH_TOKEN = "refresh_token"  # noqa: S105 # the name of a grant
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 # a grant's name
GRANTS = (CLIENT_CREDENTIALS, PASSWORD, REFRESH_TOKEN, TOKEN_EXCHANGE)

AUTHORIZATION_CODE = "authorization_code"
NO_AUTHORIZATION_CODE = (
    f"the grant '{AUTHORIZATION_CODE}' is not supported: it needs a person in a browser, and a run "
    f"has none; use one of {', '.join(GRANTS)}"
)

BASIC, POST, SECRET_JWT = "client_secret_basic", "client_secret_post", "client_secret_jwt"
PRIVATE_KEY_JWT = "private_key_jwt"
NO_CLIENT_AUTHENTICATION = "none"
CLIENT_AUTHENTICATIONS = (BASIC, POST, SECRET_JWT, PRIVATE_KEY_JWT, NO_CLIENT_AUTHENTICATION)

FORM, JSON_ENCODING = "application/x-www-form-urlencoded", "application/json"
ENCODINGS = (FORM, JSON_ENCODING)

_NEEDED_BY_GRANT = {
    PASSWORD: ("username", "password"),
    REFRESH_TOKEN: ("subject",),
    TOKEN_EXCHANGE: ("subject",),
}
_NEEDED_BY_CLIENT_AUTHENTICATION = {
    BASIC: ("client.id", "client.secret"),
    POST: ("client.id",),
    PRIVATE_KEY_JWT: ("client.id", "client.assertion"),
    NO_CLIENT_AUTHENTICATION: (),
}


def missing_properties(
    grant: str, client_authentication: str, present: Collection[str]
) -> Iterator[str]:
    """Yield a sentence on each property that a policy lacks.

    Unknown grants and client authentications, such as expressions, need nothing. `present` has
    the names of properties; those of `client` with its name before them: `client.id`.
    """
    for kind, name, needed in (
        ("grant", grant, _NEEDED_BY_GRANT.get(grant, ())),
        (
            "client authentication",
            client_authentication,
            _needed_by_client(client_authentication, present),
        ),
    ):
        for key in needed:
            if key not in present:
                yield f"'{key}' is required by the {kind} '{name}'"


def _needed_by_client(authentication: str, present: Collection[str]) -> tuple[str, ...]:
    if authentication == SECRET_JWT:
        return (
            "client.id",
            "client.assertion" if "client.assertion" in present else "client.secret",
        )
    return _NEEDED_BY_CLIENT_AUTHENTICATION.get(authentication, ())
