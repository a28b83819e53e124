"""MCP server resources, in the operator's file of model providers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    HttpUrl,
    SecretStr,
    ValidationError,
    model_validator,
)

from ai_worker.resources import (
    MCP_SERVER_KIND,
    KeySource,
    Metadata,
    Resource,
    ResourceError,
    first_problem,
    kind_of,
    parse_seconds,
    plain_url,
    read_documents,
)
from stigma.contracts.globs import matches_any
from stigma.contracts.limits import DEFAULT_REQUEST_TIMEOUT

_HEADER = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"
_SCOPE = r"^[!#-\[\]-~]{1,200}$"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
# Headers that the protocol sets: another value would break it.
_OWN_HEADERS = frozenset(
    (
        *("accept", "accept-encoding", "connection", "content-length", "content-type", "host"),
        *("last-event-id", "mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id"),
        "transfer-encoding",
    )
)

PlainUrl = Annotated[HttpUrl, Field(strict=False), AfterValidator(plain_url)]


class ValueSource(Resource):
    """The source of a header or a variable: a secret from the environment or a file, or a text."""

    env: str = Field(default="", pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")
    file: str = ""
    value: str | None = Field(default=None, max_length=10_000, pattern=r"^[^\x00\r\n]*$")
    prefix: str = Field(default="", max_length=100, pattern=r"^[ -~]*$")

    @model_validator(mode="after")
    def _one_of(self) -> ValueSource:
        if (bool(self.env), bool(self.file), self.value is not None).count(True) != 1:
            raise ValueError("needs one of env, file and value")
        return self

    def read_key(self, environment: Mapping[str, str]) -> SecretStr:
        """Read the key, without the prefix.

        Raises:
            ResourceError: it is absent or not a key.
        """
        key = KeySource(env=self.env) if self.env else KeySource(file=self.file)
        return key.read(environment)


class OAuthSpec(Resource):
    """OAuth's client credentials grant: the client, and who gives it tokens."""

    token_url: PlainUrl | None = None
    issuer: PlainUrl | None = None
    client_id: Annotated[str, Field(min_length=1, max_length=1000)]
    client_secret: KeySource
    client_auth: Literal["basic", "post"] = "basic"
    scopes: list[Annotated[str, Field(pattern=_SCOPE)]] = Field(default_factory=list)
    resource: str | None = Field(default=None, max_length=2000, pattern=r"^[!-~]*$")

    @model_validator(mode="after")
    def _one_of(self) -> OAuthSpec:
        if (self.token_url is None) == (self.issuer is None):
            raise ValueError("needs either token_url or issuer")
        return self


class HttpSpec(Resource):
    """A server that is reached by streamable HTTP."""

    url: PlainUrl
    headers: dict[Annotated[str, Field(pattern=_HEADER)], ValueSource] = Field(default_factory=dict)
    oauth: OAuthSpec | None = None

    @model_validator(mode="after")
    def _foreign(self) -> HttpSpec:
        if own := sorted(_OWN_HEADERS & {name.lower() for name in self.headers}):
            raise ValueError(f"header {own[0]} is set by the protocol")
        if self.oauth and "authorization" in {name.lower() for name in self.headers}:
            raise ValueError("header authorization is set by oauth")
        return self


class StdioSpec(Resource):
    """A server that the AI worker starts, with no environment but what is given here."""

    command: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]
    args: list[Annotated[str, Field(max_length=10_000, pattern=r"^[^\x00]*$")]] = Field(
        default_factory=list
    )
    env: dict[Annotated[str, Field(pattern=_VARIABLE)], ValueSource] = Field(default_factory=dict)


class McpServerSpec(Resource):
    """Transport and bounds of a server."""

    http: HttpSpec | None = None
    stdio: StdioSpec | None = None
    timeout: Annotated[timedelta, BeforeValidator(parse_seconds)] = DEFAULT_REQUEST_TIMEOUT
    max_concurrency: int = Field(default=32, ge=1, le=1000)
    tools: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_of(self) -> McpServerSpec:
        if (self.http is None) == (self.stdio is None):
            raise ValueError("needs either http or stdio")
        return self


class McpServerDocument(Resource):
    """One document of the file."""

    api_version: Literal["stigma/v1"] = Field(alias="apiVersion")
    kind: Literal["McpServer"]
    metadata: Metadata
    spec: McpServerSpec


class OAuthClient(Resource):
    """A client that an authorization server gives tokens, with its secret."""

    token_url: str = ""
    """Empty: the issuer's metadata name it."""
    issuer: str = ""
    client_id: str
    client_secret: SecretStr
    client_auth: Literal["basic", "post"] = "basic"
    """Place of the client's name and secret: a header, or fields of the form."""
    scopes: tuple[str, ...] = ()
    resource: str = ""
    """Resource that tokens are for; empty: the authorization server is not told."""


class McpServerResource(Resource):
    """A server as configured, with its secrets."""

    name: str
    url: str = ""
    """Of a server that is reached by HTTP."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    oauth: OAuthClient | None = None
    """Who gives the tokens that requests have; None: they have none."""
    command: str = ""
    """Of a server that the worker starts."""
    args: tuple[str, ...] = ()
    env: dict[str, SecretStr] = Field(default_factory=dict)
    timeout: timedelta = DEFAULT_REQUEST_TIMEOUT
    """Longest time of one request."""
    max_concurrency: int = 32
    """Calls in flight."""
    tools: tuple[str, ...] = ()
    """Patterns of the tools that agents may use; empty: all."""
    keys: tuple[SecretStr, ...] = ()
    """Keys of headers and variables, and the client's secret: no log may show them."""

    def offers(self, tool: str) -> bool:
        """Return whether agents may use a tool of this name."""
        return not self.tools or matches_any(tool, self.tools)


def load_mcp_servers(
    path: Path | None, environment: Mapping[str, str] = os.environ
) -> list[McpServerResource]:
    """Return the MCP servers of the file of providers; none without a file.

    Raises:
        ResourceError: naming the file, the document and the field.
    """
    resources: list[McpServerResource] = []
    for place, document in read_documents(path) if path else ():
        if kind_of(document) != MCP_SERVER_KIND:
            continue
        try:
            parsed = McpServerDocument.model_validate(document)
        except ValidationError as error:
            raise ResourceError(f"{place}: {first_problem(error)}") from None
        if parsed.metadata.name in {other.name for other in resources}:
            raise ResourceError(f"{place}: MCP server {parsed.metadata.name!r} is defined twice")
        resources.append(_resource(parsed, place, environment))
    return resources


def _resource(
    parsed: McpServerDocument, place: str, environment: Mapping[str, str]
) -> McpServerResource:
    spec = parsed.spec
    http, stdio = spec.http, spec.stdio
    headers = _keys(http.headers, f"{place}: spec.http.headers", environment) if http else {}
    oauth = _oauth(http, f"{place}: spec.http.oauth.client_secret", environment) if http else None
    variables = _keys(stdio.env, f"{place}: spec.stdio.env", environment) if stdio else {}
    return McpServerResource(
        name=parsed.metadata.name,
        url=str(http.url) if http else "",
        headers=_values(http.headers, headers) if http else {},
        oauth=oauth,
        command=stdio.command if stdio else "",
        args=tuple(stdio.args) if stdio else (),
        env=_values(stdio.env, variables) if stdio else {},
        timeout=spec.timeout,
        max_concurrency=spec.max_concurrency,
        tools=tuple(spec.tools),
        keys=(
            *headers.values(),
            *variables.values(),
            *([oauth.client_secret] if oauth else ()),
        ),
    )


def _oauth(http: HttpSpec, place: str, environment: Mapping[str, str]) -> OAuthClient | None:
    spec = http.oauth
    if spec is None:
        return None
    try:
        secret = spec.client_secret.read(environment)
    except ResourceError as error:
        raise ResourceError(f"{place}: {error}") from None
    return OAuthClient(
        token_url=str(spec.token_url or ""),
        issuer=str(spec.issuer or ""),
        client_id=spec.client_id,
        client_secret=secret,
        client_auth=spec.client_auth,
        scopes=tuple(spec.scopes),
        resource=str(http.url) if spec.resource is None else spec.resource,
    )


def _keys(
    sources: Mapping[str, ValueSource], place: str, environment: Mapping[str, str]
) -> dict[str, SecretStr]:
    found: dict[str, SecretStr] = {}
    for name, source in sources.items():
        try:
            if source.value is None:
                found[name] = source.read_key(environment)
        except ResourceError as error:
            raise ResourceError(f"{place}.{name}: {error}") from None
    return found


def _values(
    sources: Mapping[str, ValueSource], keys: Mapping[str, SecretStr]
) -> dict[str, SecretStr]:
    return {
        name: SecretStr(
            source.prefix
            + (keys[name].get_secret_value() if source.value is None else source.value)
        )
        for name, source in sources.items()
    }
