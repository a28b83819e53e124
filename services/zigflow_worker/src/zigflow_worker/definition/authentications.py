"""Reads authentication policies: inline, by name, and those of `use.authentications`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from zigflow_worker import oauth2_rules
from zigflow_worker.definition.model import AuthenticationDefinition
from zigflow_worker.definition.node_errors import ConsequenceError
from zigflow_worker.definition.nodes import Node
from zigflow_worker.expressions import JSON, is_expression
from zigflow_worker.uri_templates import check_http_template, names_in, template_parts

_OAUTH2_KEYS = (
    *("authority", "grant", "client", "request", "issuers", "scopes", "audiences"),
    *("username", "password", "subject", "actor"),
)
_CLIENT_ELSEWHERE = dict.fromkeys(
    ("clientId", "clientSecret", "client_id", "client_secret", "clientID"),
    "into 'client': {id: …, secret: …}",
)
_LIKE = {
    "basic": "{username: …, password: …}",
    "bearer": "{token: …}",
    "digest": "{username: …, password: …}",
    "oauth2": "{authority: https://…, grant: client_credentials, client: {id: …, secret: …}}",
    "oidc": "{authority: https://…, grant: client_credentials, client: {id: …, secret: …}}",
}
_CLIENT_KEYS = ("id", "secret", "assertion", "authentication")


def read_authentication(node: Node) -> AuthenticationDefinition | Node:
    """Read a policy, or the name of a reusable one."""
    if "use" in node.mapping("{use: NAME} or {bearer: {token: …}}"):
        return _only(node, "use")
    return read_policy(node)


def read_policy(node: Node) -> AuthenticationDefinition:
    """Read a policy: one scheme, with its properties or the name of the secret that has them."""
    fields = node.mapping()
    if "use" in fields:
        raise fields["use"].error("a reusable authentication is no reference to another one")
    schemes = [key for key in fields if key in _READERS]
    if len(schemes) > 1:
        raise fields[schemes[1]].error(
            f"two authentications: expected either '{schemes[0]}' or '{schemes[1]}'"
        )
    node.fields(*_READERS)
    if not schemes:
        error = node.error(f"expected one authentication of {', '.join(_READERS)}")
        raise ConsequenceError(error.message, node.pointer) if fields else error
    scheme = schemes[0]
    settings = fields[scheme]
    if "use" in settings.mapping(_LIKE.get(scheme, "")):
        return AuthenticationDefinition(node, scheme, secret=_only(settings, "use"))
    written = _READERS[scheme](settings)
    policy = node if written is None else Node({scheme: written}, node.pointer)
    return AuthenticationDefinition(policy, scheme)


def _only(node: Node, key: str) -> Node:
    fields = node.mapping()
    for other in fields:
        if other != key:
            with node.part():
                raise fields[other].error(f"two authentications: '{key}' stands alone")
    fields[key].text()
    return fields[key]


def _read_credentials(node: Node) -> None:
    for value in node.fields("username", "password", required=["username", "password"]).values():
        with node.part():
            _text(value)


def _read_basic(node: Node) -> None:
    _read_credentials(node)
    username = node.mapping().get("username")
    if username is not None and not is_expression(username.value) and ":" in str(username.value):
        raise username.error("a username of 'basic' has no colon")


def _read_bearer(node: Node) -> None:
    token = node.fields("token", required=["token"])["token"]
    token.text()


def _read_oauth2(node: Node) -> dict[str, JSON]:
    written = _read_token_source(node, *_OAUTH2_KEYS, "endpoints")
    if "endpoints" in written:
        endpoints = node.child("endpoints").fields("token", "revocation", "introspection")
        written["endpoints"] = uris = {}
        for key, part in endpoints.items():
            with part.part():
                uris[key] = _uri(part, names_in)
    return written


def _read_oidc(node: Node) -> dict[str, JSON]:
    return _read_token_source(node, *_OAUTH2_KEYS)


def _read_token_source(node: Node, *allowed: str) -> dict[str, JSON]:
    """Return the settings with URI templates in their parts."""
    fields = node.fields(*allowed, required=["authority", "grant"], elsewhere=_CLIENT_ELSEWHERE)
    authority: JSON = None
    with node.part():
        authority = _uri(fields["authority"], check_http_template)
    with node.part():
        _read_grant(fields["grant"])
    for key in ("username", "password"):
        if key in fields:
            with node.part():
                _text(fields[key])
    for key in ("issuers", "scopes", "audiences"):
        if key in fields:
            with node.part():
                _read_texts(fields[key])
    for key in ("subject", "actor"):
        if key in fields:
            with node.part():
                _read_token(fields[key])
    _read_rest(node, fields)
    return {key: part.value for key, part in fields.items()} | {"authority": authority}


def _read_token(node: Node) -> None:
    for part in node.fields("token", "type", required=["token", "type"]).values():
        with node.part():
            part.text()


def _read_rest(node: Node, fields: Mapping[str, Node]) -> None:
    """Read the client and the request, and check that the grant has all it takes."""
    with node.part():
        _read_request(fields.get("request"))
    with node.part():
        client: Mapping[str, Node] = {}
        if (given := fields.get("client")) is not None:
            client = _read_client(given)
        present = {key for key in _OAUTH2_KEYS if fields.get(key) is not None}
        present |= {f"client.{key}" for key in _CLIENT_KEYS if client.get(key) is not None}
        _check_properties(node, fields["grant"], client.get("authentication"), present)


def _uri(node: Node, check: Callable[[str], object]) -> JSON:
    text = node.text()
    if is_expression(text):
        return text
    try:
        check(text)
    except ValueError as error:
        raise node.error(str(error)) from None
    return template_parts(text)


def _read_grant(node: Node) -> str:
    if node.value == oauth2_rules.AUTHORIZATION_CODE:
        raise node.error(oauth2_rules.NO_AUTHORIZATION_CODE)
    return _one_of(node, oauth2_rules.GRANTS)


def _read_client(node: Node) -> dict[str, Node]:
    fields = node.fields(*_CLIENT_KEYS)
    for key, value in fields.items():
        with node.part():
            if key == "authentication":
                _one_of(value, oauth2_rules.CLIENT_AUTHENTICATIONS)
            else:
                _text(value)
    return fields


def _read_request(node: Node | None) -> None:
    if node is not None and "encoding" in (fields := node.fields("encoding")):
        _one_of(fields["encoding"], oauth2_rules.ENCODINGS)


def _check_properties(
    node: Node, grant: Node, client_authentication: Node | None, present: Iterable[str]
) -> None:
    method = oauth2_rules.POST if client_authentication is None else client_authentication.text()
    for missing in oauth2_rules.missing_properties(grant.text(), method, set(present)):
        with node.part():
            raise node.error(missing)


def _text(node: Node) -> None:
    """Check a text that may be blank, such as a password."""
    if not isinstance(node.value, str):
        node.text()


def _read_texts(node: Node) -> None:
    if not is_expression(node.value):
        for item in node.items():
            with node.part():
                item.text()


def _one_of(node: Node, values: tuple[str, ...]) -> str:
    text = node.text()
    if text not in values and not is_expression(text):
        raise node.error(f"expected one of {', '.join(values)}", known=values)
    return text


_READERS: Mapping[str, Callable[[Node], dict[str, JSON] | None]] = {
    "basic": _read_basic,
    "bearer": _read_bearer,
    "digest": _read_credentials,
    "oauth2": _read_oauth2,
    "oidc": _read_oidc,
}
