"""Authentication policies, evaluated: expressions and secrets may have made anything of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Protocol, Self, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic import model_validator as validates

from zigflow_worker import oauth2_rules
from zigflow_worker.errors import CONFIGURATION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.uri_templates import expand

Text: TypeAlias = Annotated[str, StringConstraints(min_length=1)]
Username: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$")]


def _one_of(values: tuple[str, ...]) -> AfterValidator:
    def check(text: str) -> str:
        if text not in values:
            raise ValueError(f"expected one of {', '.join(values)}")
        return text

    return AfterValidator(check)


def _expanded(value: object) -> object:
    """Return the URI of a template that the document has; texts are URIs as they are."""
    match value:
        case {"uriTemplate": str(template), "uriValues": dict(values)}:
            return expand(template, values)
    return value


Uri: TypeAlias = Annotated[str, StringConstraints(min_length=1), BeforeValidator(_expanded)]
Grant: TypeAlias = Annotated[str, _one_of(oauth2_rules.GRANTS)]
ClientAuthentication: TypeAlias = Annotated[str, _one_of(oauth2_rules.CLIENT_AUTHENTICATIONS)]
Encoding: TypeAlias = Annotated[str, _one_of(oauth2_rules.ENCODINGS)]


class PolicySecrets(Protocol):
    """Secrets of one authentication policy."""

    def value(self, name: str) -> JSON:
        """Read a secret that has the settings of the policy.

        Raises:
            WorkflowError: of type `authorization`, status 403, where it is undeclared or missing.
        """

    def check_host(self, host: str) -> None:
        """Check that every secret of the policy, those in its expressions too, may go to a host.

        Raises:
            WorkflowError: of type `authorization`, status 403.
        """


class _Policy(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class _SecretFriendlyPolicy(_Policy):
    """A policy whose secret may have more in it, for instance that of a database."""

    model_config = ConfigDict(extra="ignore")


class BasicPolicy(_SecretFriendlyPolicy):
    """Settings of `basic`."""

    username: Annotated[Username, StringConstraints(pattern="^[^:]*$")]
    password: str


class DigestPolicy(_SecretFriendlyPolicy):
    """Settings of `digest`."""

    username: Annotated[Username, StringConstraints(pattern=r'^[^"\\]*$')]
    """A header quotes it."""
    password: str


class BearerPolicy(_SecretFriendlyPolicy):
    """Settings of `bearer`."""

    token: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]+$")]


class SecurityToken(_Policy):
    """A token that stands for a party; `type` is the URI of its type (RFC 8693)."""

    token: Text
    type: Text


class ClientPolicy(_Policy):
    """The client of a token request."""

    id: Text = ""
    secret: str | None = None
    assertion: Text | None = None
    authentication: ClientAuthentication = oauth2_rules.POST


class RequestPolicy(_Policy):
    """The form of a token request."""

    encoding: Encoding = oauth2_rules.FORM


class EndpointsPolicy(_Policy):
    """Endpoints, relative to the authority. The other two are never called."""

    token: Uri = "/oauth2/token"  # noqa: S105 # a path
    revocation: Uri | None = None
    introspection: Uri | None = None


class OidcPolicy(_Policy):
    """Settings of `oidc`."""

    authority: Uri
    grant: Grant
    client: ClientPolicy = ClientPolicy()
    request: RequestPolicy = RequestPolicy()
    issuers: list[Text] = Field(default_factory=list)
    scopes: list[Text] = Field(default_factory=list)
    audiences: list[Text] = Field(default_factory=list)
    username: str | None = None
    password: str | None = None
    subject: SecurityToken | None = None
    actor: SecurityToken | None = None

    @validates(mode="after")
    def _is_complete(self) -> Self:
        present = self.model_fields_set | {f"client.{key}" for key in self.client.model_fields_set}
        method = self.client.authentication
        for missing in oauth2_rules.missing_properties(self.grant, method, present):
            raise ValueError(missing)
        return self


class OAuth2Policy(OidcPolicy):
    """Settings of `oauth2`."""

    endpoints: EndpointsPolicy = EndpointsPolicy()


P = TypeVar("P", bound=BaseModel)


def settings_of(
    model: type[P], policy: Mapping[str, JSON], scheme: str, secrets: PolicySecrets
) -> P:
    """Return the settings of a policy, from its secret where it names one.

    Raises:
        WorkflowError: of type `configuration`, status 400, where they are wrong; of type
            `authorization`, status 403, where the secret is not to be had.
    """
    settings: Any = policy[scheme]
    source = f"authentication '{scheme}'"
    if isinstance(settings, dict) and "use" in settings:
        name = str(settings["use"])
        settings = secrets.value(name)
        source = f"the secret '{name}' as authentication '{scheme}'"
        if model is BearerPolicy and isinstance(settings, str):
            settings = {"token": settings}
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise WorkflowError.of(CONFIGURATION, f"{source}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    """Return the place and message of a problem, without what is there."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "string_type":
        message = "expected a text; null is what a secret's missing key gives"
    place = ".".join(map(str, problem["loc"]))
    return f"'{place}': {message}" if place else message
