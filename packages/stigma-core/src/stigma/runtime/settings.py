"""Settings from the environment: one class a service, one documented field a variable.

`load_settings` is the only way in: it answers `--help` and `--version`, and turns a bad value
into one clear line.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, get_args, get_origin

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    PlainSerializer,
    Secret,
    SecretBytes,
    SecretStr,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

PREFIX = "STIGMA_"
_USAGE_ERROR = 2

S = TypeVar("S", bound=BaseSettings)


def _seconds(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    try:
        seconds = float(value)  # type: ignore[arg-type]
        return timedelta(seconds=seconds)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a number of seconds is needed, for example 30") from None


Seconds = Annotated[timedelta, BeforeValidator(_seconds), PlainSerializer(timedelta.total_seconds)]
"""A duration, written in the environment as a number of seconds."""


def _texts(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return [text for part in value.split(",") if (text := part.strip())]
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("not valid JSON") from None


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_texts)]
"""Texts, written in the environment with commas between them, or as a JSON list."""

Port = Annotated[int, Field(ge=0, le=65535)]
"""A TCP port; 0 takes a free one."""


class ServiceSettings(BaseSettings):
    """Settings of every service; a service's own class adds its fields."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", frozen=True, populate_by_name=True
    )

    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        BeforeValidator(lambda v: v.upper() if isinstance(v, str) else v),
    ] = Field("INFO", description="Least severe level that is logged.")
    log_format: Literal["auto", "json", "pretty"] = Field(
        "auto", description="How a log event is written; auto is pretty on a terminal."
    )
    admin_host: str = Field(
        "127.0.0.1", description="Address of the admin port (/livez, /readyz, /metrics)."
    )
    admin_port: Port = Field(0, description="Admin port; 0 takes a free one.")
    shutdown_grace: Seconds = Field(
        timedelta(seconds=30),
        gt=timedelta(0),
        description="How long running calls and activities may go on after SIGTERM.",
    )
    task_queue_prefix: str = Field("", description="Put before the name of every task queue.")
    workflow_sandbox: bool = Field(
        False, description="Run workflow code in the SDK's sandbox (slower; used by tests)."
    )
    deployment_name: str = Field(
        "",
        validation_alias=AliasChoices("TEMPORAL_DEPLOYMENT_NAME", "deployment_name"),
        description="Worker Deployment this worker belongs to; empty: unversioned.",
    )
    build_id: str = Field(
        "",
        validation_alias=AliasChoices("TEMPORAL_WORKER_BUILD_ID", "build_id"),
        description="Version of this worker in its Worker Deployment.",
    )

    def file_problems(self) -> Iterator[str]:
        """Yield what is wrong with files that settings name, one line each, with the variable.

        They are looked at when a service starts, not when settings are made.
        """
        yield from ()


def load_settings(cls: type[S], prog: str, argv: Sequence[str] | None = None) -> S:
    """Return the settings of this process, from its environment.

    `--help` prints the table of variables and `--version` the version of `prog`'s distribution;
    both exit 0. A bad value, or an argument that is none of the two, is one line on stderr and
    exit 2. A variable that looks like a misspelt one is pointed out and ignored: the variables
    of several services may share an environment.

    Args:
        cls: the service's settings class.
        prog: name of the service, which is the name of its package.
        argv: arguments without the program's name; default: those of this process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["--help"], ["-h"]):
        sys.stdout.write(_help(cls, prog))
        sys.exit(0)
    if arguments == ["--version"]:
        sys.stdout.write(f"{prog} {_version(prog)}\n")
        sys.exit(0)
    if arguments:
        _refuse(prog, f"takes no argument {arguments[0]!r}; see --help")
    for unknown, known in _near_misses(cls):
        sys.stderr.write(f"{prog}: {unknown} is not a setting; is {known} meant?\n")
    try:
        settings = cls()
    except ValidationError as error:
        _refuse(prog, "; ".join(_message(cls, e) for e in error.errors(include_url=False)))
    except SettingsError as error:
        _refuse(prog, _not_json(cls, error))
    if isinstance(settings, ServiceSettings) and (problems := [*settings.file_problems()]):
        _refuse(prog, "; ".join(problems))
    return settings


def variables(cls: type[BaseSettings]) -> dict[str, FieldInfo]:
    """Return the fields by environment variable, in the order of the class."""
    return {_variable(cls, name, field): field for name, field in cls.model_fields.items()}


def table_rows(cls: type[BaseSettings]) -> list[tuple[str, str, str, str]]:
    """Return name, type, default and description of each variable; "-" is no default."""
    return [
        (variable, _type(field), _default(field), field.description or "")
        for variable, field in variables(cls).items()
    ]


def secrets(settings: BaseSettings) -> Iterator[str]:
    """Yield the secret values of the settings, which a log must never show."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            yield value.get_secret_value()
        elif isinstance(value, SecretBytes):
            yield value.get_secret_value().decode(errors="replace")


def _variable(cls: type[BaseSettings], name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        alias = str(alias.choices[0])
    if isinstance(alias, str):
        return alias
    return f"{cls.model_config.get('env_prefix', '')}{name}".upper()


def _near_misses(cls: type[BaseSettings]) -> Iterator[tuple[str, str]]:
    known = list(variables(cls))
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and variable not in known:
            for near in difflib.get_close_matches(variable, known, n=1, cutoff=0.9):
                yield variable, near


def _message(cls: type[BaseSettings], error: Any) -> str:
    location = error["loc"]
    if not location:
        return str(error["msg"]).removeprefix("Value error, ")
    # pydantic names the field, or, where it has one, its alias: the variable itself.
    head = str(location[0])
    known = variables(cls)
    variable = head.upper() if head.upper() in known else f"{PREFIX}{head}".upper()
    field = known.get(variable)
    if error["type"] == "missing":
        return f"{variable} is required"
    message = str(error["msg"]).removeprefix("Value error, ")
    # The value of a secret field, even a bad one, is a secret.
    given = "" if field is None or _is_secret(field) else f" (given: {error['input']!r})"
    return f"{variable}: {message}{given}"


def _not_json(cls: type[BaseSettings], error: SettingsError) -> str:
    # pydantic-settings has the field only in its text.
    for variable, name in zip(variables(cls), cls.model_fields, strict=True):
        if f'"{name}"' in str(error):
            return f"{variable}: not valid JSON"
    return str(error)


def _is_secret(field: FieldInfo) -> bool:
    kinds = (field.annotation, *get_args(field.annotation))
    return any(
        isinstance(k, type) and issubclass(k, Secret | SecretStr | SecretBytes) for k in kinds
    )


def _refuse(prog: str, message: str) -> NoReturn:
    sys.stderr.write(f"{prog}: {' '.join(message.split())}\n")
    sys.exit(_USAGE_ERROR)


def _version(prog: str) -> str:
    for distribution in metadata.packages_distributions().get(prog, ()):
        return metadata.version(distribution)
    return metadata.version("stigma-core")


def _help(cls: type[BaseSettings], prog: str) -> str:
    rows = [("VARIABLE", "TYPE", "DEFAULT", "DESCRIPTION")]
    rows += table_rows(cls)
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]).rstrip()
        for row in rows
    ]
    return "\n".join(
        [
            f"usage: python -m {prog} [--help | --version]",
            "",
            "Configured by environment variables:",
            "",
            *lines,
            "",
            "Temporal is configured by its own variables: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE,",
            "TEMPORAL_API_KEY, TEMPORAL_TLS*, TEMPORAL_PROFILE, TEMPORAL_CONFIG_FILE.",
            "Traces are exported when OTEL_EXPORTER_OTLP_ENDPOINT is set.",
            "",
        ]
    )


def _type(field: FieldInfo) -> str:
    return "|".join(dict.fromkeys(_type_names(field.annotation)))


def _type_names(annotation: Any) -> Iterator[str]:
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        yield from (str(a) for a in arguments)
    elif annotation is timedelta:
        yield "seconds"
    elif get_origin(annotation) is tuple:
        yield "list"
    elif arguments and get_origin(annotation) in {list, set, frozenset, dict}:
        yield "json"
    elif arguments:
        for argument in arguments:
            if argument is not type(None):
                yield from _type_names(argument)
    elif isinstance(annotation, type) and issubclass(annotation, Secret | SecretStr | SecretBytes):
        yield "secret"
    elif isinstance(annotation, type) and issubclass(annotation, Path):
        yield "path"
    else:
        yield {"str": "text", "int": "number", "float": "number", "bool": "true|false"}.get(
            getattr(annotation, "__name__", ""), "text"
        )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "(required)"
    default = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, timedelta):
        return f"{default.total_seconds():g}"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, Enum):
        return str(default.value)
    if default in (None, "", ()) or isinstance(default, SecretStr | SecretBytes):
        return "-"
    return str(default)
