"""Settings of the API, read from its environment."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from typing_extensions import override

from stigma.contracts import limits
from stigma.contracts.channels import is_loopback
from stigma.runtime import Seconds, ServiceSettings, Texts
from stigma.runtime.named_files import (
    missing_folder,
    unreadable_file,
    unusable_authorities,
    unusable_key_pair,
)

_REGISTRIES = frozenset({"sqlite+aiosqlite", "postgresql+asyncpg"})
_MIN_SECRET_LENGTH = 32


class ApiSettings(ServiceSettings):
    """Settings of `stigma_api`."""

    admin_port: int = Field(7310, ge=0, le=65535, description="Admin port; 0 takes a free one.")
    api_host: str = Field("127.0.0.1", description="Address that the gRPC server listens on.")
    api_port: int = Field(7300, ge=0, le=65535, description="gRPC port; 0 takes a free one.")
    registry_url: SecretStr = Field(  # it may hold a password
        SecretStr("sqlite+aiosqlite:///./stigma.db"),
        description="Where agents are kept: sqlite+aiosqlite:///FILE (by default ./stigma.db) or "
        "postgresql+asyncpg://…",
    )
    principals_file: Path | None = Field(
        None,
        description="YAML file of who may do what, read again when it changes; without it only "
        "loopback is served.",
    )
    api_tls_cert: Path | None = Field(None, description="The server's certificate chain (PEM).")
    api_tls_key: Path | None = Field(None, description="The certificate's key (PEM).")
    api_tls_client_ca: Path | None = Field(
        None, description="CA of client certificates (PEM); callers may then use mTLS."
    )
    api_reflection: bool = Field(
        True,
        description="Answer gRPC's reflection, v1 and v1alpha, without a key: names and fields of "
        "the services, for clients such as grpcurl.",
    )
    callbacks_enabled: bool = Field(
        True, description="Accept callback tokens; off for a phased rollout."
    )
    tool_task_queues: Texts = Field(
        (),
        description="Task queues that agents' tools may use: globs, with commas between them; "
        "none by default. Stigma's own are never among them.",
    )
    tool_nexus_endpoints: Texts = Field(
        (),
        description="Nexus endpoints that agents' tools may use: globs, with commas between them; "
        "none by default.",
    )
    sub_agent_depth: int = Field(
        limits.DEFAULT_AGENT_DEPTH,
        ge=0,
        le=limits.MAX_AGENT_DEPTH,
        description="Most levels of agents below an execution; 0: agents call no agents.",
    )
    sub_agent_count: int = Field(
        limits.DEFAULT_SUB_AGENTS,
        ge=0,
        le=limits.MAX_SUB_AGENTS,
        description="Most executions of agents below one execution.",
    )
    session_idle_timeout: Seconds = Field(
        limits.DEFAULT_SESSION_IDLE_TIMEOUT,
        ge=timedelta(seconds=1),
        le=limits.MAX_SESSION_IDLE_TIMEOUT,
        description="How long a session is kept without being used, as of its last start.",
    )
    api_max_in_flight: int = Field(
        256, ge=1, description="Most calls worked on at a time; more are told to try again."
    )
    api_max_watches: int = Field(1000, ge=1, description="Most Watch streams open at a time.")
    api_call_timeout: Seconds = Field(
        timedelta(seconds=15), gt=timedelta(0), description="Longest time a call may take."
    )
    api_watch_timeout: Seconds = Field(
        timedelta(hours=1),
        gt=timedelta(0),
        description="Longest time a Watch stream stays open; clients resume with its cursor.",
    )
    cluster_metrics_interval: Seconds = Field(
        timedelta(seconds=15),
        ge=timedelta(0),
        description="How often the gauges of the whole installation are read from Temporal; 0: "
        "never, and there are none.",
    )
    stuck_after: Seconds = Field(
        timedelta(hours=24),
        gt=timedelta(0),
        description="How long a caller waits before its call counts as stuck.",
    )
    console_enabled: bool = Field(
        False, description="Serve the console, web pages that show executions, on its own port."
    )
    console_host: str = Field("127.0.0.1", description="Address that the console listens on.")
    console_port: int = Field(
        7301, ge=0, le=65535, description="Port of the console; 0 takes a free one."
    )
    console_session_secret: SecretStr = Field(
        SecretStr(""),
        description="Signs the console's sessions, the same on every replica, 32 characters or "
        "more; empty: a random one, so that a restart asks to sign in again.",
    )
    console_temporal_ui_url: str = Field(
        "",
        pattern=r"^(https?://[^\s]+)?$",
        description="Temporal's web UI, for the console's links into it; empty: no links.",
    )

    @property
    def authenticates(self) -> bool:
        """True when callers must authenticate."""
        return self.principals_file is not None or self.api_tls_client_ca is not None

    @override
    def file_problems(self) -> Iterator[str]:
        variables = "STIGMA_API_TLS_CERT", "STIGMA_API_TLS_KEY"
        yield from unreadable_file("STIGMA_PRINCIPALS_FILE", self.principals_file)
        yield from unusable_key_pair(variables, self.api_tls_cert, self.api_tls_key)
        yield from unusable_authorities("STIGMA_API_TLS_CLIENT_CA", self.api_tls_client_ca)
        yield from missing_folder("STIGMA_REGISTRY_URL", self._registry_file())

    def _registry_file(self) -> Path | None:
        """Return the file of the registry; None where a server, or a URI of SQLite's, is named."""
        url = make_url(self.registry_url.get_secret_value())
        if not url.drivername.startswith("sqlite") or not url.database:
            return None
        return None if url.database.startswith("file:") else Path(url.database)

    @field_validator("registry_url")
    @classmethod
    def _check_registry(cls, url: SecretStr) -> SecretStr:
        try:
            parsed = make_url(url.get_secret_value())
        except (ArgumentError, ValueError):  # the latter for a port that is no number
            parsed = None
        # Without a file every connection would have a database of its own.
        if parsed is None or parsed.drivername not in _REGISTRIES or not parsed.database:
            raise ValueError("must be sqlite+aiosqlite:///FILE or postgresql+asyncpg://HOST/NAME")
        return url

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.api_tls_cert is None) != (self.api_tls_key is None):
            raise ValueError("STIGMA_API_TLS_CERT and STIGMA_API_TLS_KEY belong together")
        if self.api_tls_client_ca is not None and self.api_tls_cert is None:
            raise ValueError("STIGMA_API_TLS_CLIENT_CA needs STIGMA_API_TLS_CERT and _KEY")
        return self

    @model_validator(mode="after")
    def _check_exposure(self) -> Self:
        if not self.authenticates and not is_loopback(f"{self.api_host}:{self.api_port}"):
            raise ValueError(
                f"STIGMA_API_HOST {self.api_host} can be reached by others: set "
                "STIGMA_PRINCIPALS_FILE or STIGMA_API_TLS_CLIENT_CA, or listen on 127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _check_console(self) -> Self:
        if not self.console_enabled or self.principals_file is not None:
            return self
        if self.authenticates:
            raise ValueError(
                "STIGMA_CONSOLE_ENABLED needs STIGMA_PRINCIPALS_FILE beside "
                "STIGMA_API_TLS_CLIENT_CA: the console takes API keys, no client certificates"
            )
        if not is_loopback(f"{self.console_host}:{self.console_port}"):
            raise ValueError(
                f"STIGMA_CONSOLE_HOST {self.console_host} can be reached by others: set "
                "STIGMA_PRINCIPALS_FILE, or listen on 127.0.0.1"
            )
        return self

    @field_validator("console_session_secret")
    @classmethod
    def _check_session_secret(cls, secret: SecretStr) -> SecretStr:
        if 0 < len(secret.get_secret_value()) < _MIN_SECRET_LENGTH:
            raise ValueError(f"must have {_MIN_SECRET_LENGTH} characters or more")
        return secret
