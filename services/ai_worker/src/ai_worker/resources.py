"""Provider resources: the operator's file of model providers, strictly validated."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from stigma.contracts.configuration import SCRIPTED_PROVIDER
from stigma.contracts.limits import DEFAULT_REQUEST_TIMEOUT
from stigma.contracts.spelling import did_you_mean

ProviderType = Literal["openai", "openai-compatible", "anthropic"]

MCP_SERVER_KIND = "McpServer"
"""Kind of the documents that another module reads."""
_KINDS = ("Provider", MCP_SERVER_KIND)

_SECONDS = re.compile(r"\d{1,6}(?:\.\d{1,9})?s")
_MAX_FILE_BYTES = 1024 * 1024
_MAX_KEY_FILE_BYTES = 64 * 1024


class ResourceError(ValueError):
    """Provider resources that cannot be used; the message is one line and holds no key."""


class Resource(BaseModel):
    """Part of a resource: unknown fields are refused, values never shown."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _spelt(cls, given: Any) -> Any:
        """Refuse a key that is misspelt; any other unknown one is refused after this."""
        known = [each.alias or name for name, each in cls.model_fields.items()]
        absent = [name for name in known if isinstance(given, dict) and name not in given]
        for key in given if absent else ():
            if isinstance(key, str) and key not in known and (meant := did_you_mean(key, absent)):
                raise ValueError(f"unknown key {key!r}{meant}")
        return given


class KeySource(Resource):
    """The source of a key: an environment variable or a file, never the resource itself."""

    env: str = Field(default="", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    file: str = ""

    @model_validator(mode="after")
    def _one_of(self) -> KeySource:
        if bool(self.env) == bool(self.file):
            raise ValueError("needs either env or file")
        return self

    def read(self, environment: Mapping[str, str]) -> SecretStr:
        """Read the key.

        Raises:
            ResourceError: it is absent or not a key.
        """
        if self.env:
            return _key(environment.get(self.env, ""), f"environment variable {self.env}")
        try:
            text = _read_text(Path(self.file), _MAX_KEY_FILE_BYTES)
            return _key(text, f"file {self.file}")
        except (OSError, UnicodeDecodeError) as error:
            raise ResourceError(f"cannot read file {self.file}: {_cause(error)}") from None


def plain_url(url: HttpUrl) -> HttpUrl:
    """Return a URL that holds no secret, or raise ValueError."""
    if url.username or url.password or url.query or url.fragment:
        raise ValueError("must not carry credentials, a query or a fragment")
    return url


def parse_seconds(value: Any) -> timedelta:
    """Return the time that a text such as "600s" stands for, or raise ValueError."""
    if not isinstance(value, str) or not _SECONDS.fullmatch(value):
        raise ValueError('must be seconds, such as "600s"')
    timeout = timedelta(seconds=float(value[:-1]))
    if not timeout:
        raise ValueError("must be longer than zero")
    return timeout


Price = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
ModelName = Annotated[str, Field(min_length=1, max_length=200)]


class Prices(Resource):
    """Prices of a model, in US dollars per million tokens."""

    input: Price
    output: Price
    cache_read: Price | None = None
    """Of the input tokens that the provider had in its cache; as `input` if it is not given."""
    cache_write: Price | None = None
    """Of the input tokens that the provider put into its cache; as `input` if it is not given."""


class ProviderSpec(Resource):
    """Address, key and models of a provider."""

    type: ProviderType
    base_url: Annotated[HttpUrl, Field(strict=False), AfterValidator(plain_url)] | None = None
    api_key: KeySource | None = None
    models: list[ModelName] = []
    prices: dict[ModelName, Prices] = {}
    timeout: Annotated[timedelta, BeforeValidator(parse_seconds)] = DEFAULT_REQUEST_TIMEOUT

    @model_validator(mode="after")
    def _complete(self) -> ProviderSpec:
        if self.type == "openai-compatible":
            if self.base_url is None:
                raise ValueError("type openai-compatible needs base_url")
        elif self.api_key is None:
            raise ValueError(f"type {self.type} needs api_key")
        if self.models and not self.prices.keys() <= set(self.models):
            raise ValueError("prices has a model that is not in models")
        return self


def check_kind(kind: Any) -> Any:
    """Return the kind of a document, or raise ValueError for a misspelt one."""
    meant = did_you_mean(kind, _KINDS) if isinstance(kind, str) and kind not in _KINDS else ""
    if meant:
        raise ValueError(f"unknown kind{meant}")
    return kind


class Metadata(Resource):
    """A resource's name."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


class ProviderDocument(Resource):
    """One document of the file."""

    api_version: Literal["stigma/v1"] = Field(alias="apiVersion")
    kind: Annotated[Literal["Provider"], BeforeValidator(check_kind)]
    metadata: Metadata
    spec: ProviderSpec


class ProviderResource(Resource):
    """A provider as configured, with its key."""

    name: str
    type: ProviderType
    base_url: str | None = None
    api_key: SecretStr | None = None
    models: tuple[str, ...] = ()
    prices: Mapping[str, Prices] = {}
    timeout: timedelta = DEFAULT_REQUEST_TIMEOUT

    @property
    def key(self) -> str:
        """The key; without one the SDKs would send the one in their own environment variable."""
        return self.api_key.get_secret_value() if self.api_key else "none"


def load_providers(
    path: Path | None, environment: Mapping[str, str] = os.environ
) -> list[ProviderResource]:
    """Return the providers of a file or, without one, those that the environment has keys for.

    A file that has MCP servers alone says nothing of providers.

    Raises:
        ResourceError: naming the file, the document and the field.
    """
    if path is None:
        return _from_environment(environment)
    resources: list[ProviderResource] = []
    documents = read_documents(path)
    own = [each for each in documents if kind_of(each[1]) != MCP_SERVER_KIND]
    if documents and not own:
        return _from_environment(environment)
    for place, document in own:
        resource = _resource(document, place, environment)
        if resource.name == SCRIPTED_PROVIDER:
            raise ResourceError(f"{place}: the name {SCRIPTED_PROVIDER!r} is built in")
        if resource.name in {other.name for other in resources}:
            raise ResourceError(f"{place}: provider {resource.name!r} is defined twice")
        resources.append(resource)
    return resources


def kind_of(document: Any) -> Any:
    """Return the kind that a document says it is of; None where it says none."""
    return document.get("kind") if isinstance(document, dict) else None


def read_documents(path: Path) -> list[tuple[str, Any]]:
    """Return the documents of a file, each with its place for errors.

    Raises:
        ResourceError: naming the file, and the line where it is not YAML.
    """
    return [
        (f"{path}, document {number}", document)
        for number, document in enumerate(_documents(path), start=1)
    ]


def _documents(path: Path) -> list[Any]:
    try:
        text = _read_text(path, _MAX_FILE_BYTES)
        documents = list(YAML(typ="safe", pure=True).load_all(text))
    except (OSError, UnicodeDecodeError) as error:
        raise ResourceError(f"{path}: cannot be read: {_cause(error)}") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = f" at line {mark.line + 1}" if mark else ""
        raise ResourceError(f"{path}: not valid YAML{line}") from None
    except RecursionError:
        raise ResourceError(f"{path}: nested too deeply") from None
    except YAMLError:
        raise ResourceError(f"{path}: not valid YAML") from None
    return [document for document in documents if document is not None]


def _read_text(path: Path, limit: int) -> str:
    """Read a file of at most `limit` bytes; a device or a pipe tells no size."""
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ResourceError(f"{path}: larger than {limit} bytes")
    return content.decode()


def _resource(document: Any, place: str, environment: Mapping[str, str]) -> ProviderResource:
    try:
        parsed = ProviderDocument.model_validate(document)
        spec = parsed.spec
        return ProviderResource(
            name=parsed.metadata.name,
            type=spec.type,
            base_url=str(spec.base_url) if spec.base_url else None,
            api_key=spec.api_key.read(environment) if spec.api_key else None,
            models=tuple(spec.models),
            prices=spec.prices,
            timeout=spec.timeout,
        )
    except ValidationError as error:
        raise ResourceError(f"{place}: {first_problem(error)}") from None
    except ResourceError as error:
        raise ResourceError(f"{place}: spec.api_key: {error}") from None


def _from_environment(environment: Mapping[str, str]) -> list[ProviderResource]:
    types: tuple[ProviderType, ...] = ("openai", "anthropic")
    return [
        ProviderResource(
            name=provider,
            type=provider,
            base_url=_environment_url(f"{provider.upper()}_BASE_URL", environment),
            api_key=_key(
                environment[f"{provider.upper()}_API_KEY"],
                f"environment variable {provider.upper()}_API_KEY",
            ),
        )
        for provider in types
        if environment.get(f"{provider.upper()}_API_KEY")
    ]


def _environment_url(name: str, environment: Mapping[str, str]) -> str | None:
    if not environment.get(name):
        return None
    try:
        return str(plain_url(TypeAdapter(HttpUrl).validate_python(environment[name])))
    except ValueError:
        raise ResourceError(f"environment variable {name}: not a plain http(s) URL") from None


def _key(value: str, place: str) -> SecretStr:
    value = value.strip()
    if not value:
        raise ResourceError(f"{place} is empty or not set")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ResourceError(f"{place} does not hold a key: it has spaces or special characters")
    return SecretStr(value)


def first_problem(error: ValidationError) -> str:
    """Return the place and the rule of the first problem, in one line and without values."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(step) for step in problem["loc"]) or "document"
    return f"{where}: {' '.join(problem['msg'].split()).removeprefix('Value error, ')}"


def _cause(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "error" if isinstance(error, OSError) else "not UTF-8 text"
