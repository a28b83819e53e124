"""Settings of the workflow engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict
from typing_extensions import override

from stigma.runtime import ConfigurationError
from stigma.runtime.named_files import unusable_authorities, unusable_key_pair
from stigma.runtime.settings import Port, Seconds, ServiceSettings, Texts
from stigma_client.connection import ApiConnection, ConnectionSettingError, TlsFiles
from zigflow_worker.outgoing.client import HttpLimits
from zigflow_worker.outgoing.policy import AddressRules, OutgoingPolicy, read_redirections


class EngineSettings(ServiceSettings):
    """Environment variables of `zigflow_worker`; an empty one is one that is not set."""

    model_config = SettingsConfigDict(env_ignore_empty=True)

    admin_port: Port = Field(
        default=7313, description="Port of /livez, /readyz and /metrics; 0: any free one."
    )
    workflows_dir: Path | None = Field(
        default=None,
        description="Directory of documents (.yaml, .yml, .json), read again when they change.",
    )
    api_address: str = Field(
        default="localhost:7300", description="Address of Stigma's API, for `call: agent`."
    )
    api_key: SecretStr = Field(default=SecretStr(""), description="Key for the API.")
    api_tls: bool = Field(
        default=False,
        description="Encrypt calls to the API; implied by the next four.",
    )
    api_tls_ca: Path | None = Field(
        default=None, description="PEM file of the authorities trusted; none: the system's."
    )
    api_tls_client_cert: Path | None = Field(
        default=None, description="PEM file of the client's certificate (mTLS)."
    )
    api_tls_client_key: Path | None = Field(
        default=None, description="PEM file of the certificate's key."
    )
    api_tls_server_name: str = Field(
        default="", description="Name in the API's certificate, where it is not its address's."
    )
    api_allow_insecure: bool = Field(
        default=False, description="Send the key in clear to another machine."
    )
    max_cached_workflows: int = Field(
        default=1000, ge=0, description="Running workflows kept in memory; others are replayed."
    )
    max_concurrent_workflow_tasks: int = Field(
        default=100, ge=2, description="Workflow tasks worked on at a time."
    )
    max_concurrent_calls: int = Field(
        default=200, ge=1, description="Calls to the API, and other activities, at a time."
    )

    secrets_dir: Path | None = Field(
        default=None,
        description="Directory of secrets: files, or folders of files; read at each use.",
    )
    resources_dir: Path | None = Field(
        default=None,
        description="Directory of the documents that calls name by `file:` or relative URIs.",
    )
    outgoing_allow: Texts = Field(
        default=(),
        description="Networks (CIDR) and globs of hosts that calls may reach in any case.",
    )
    outgoing_deny: Texts = Field(
        default=(),
        description="Networks (CIDR) and globs of hosts that calls may not reach, besides "
        "loopback, link-local, multicast and unspecified addresses.",
    )
    outgoing_connect_to: Texts = Field(
        default=(),
        description="host:port:address:port: where to connect in place of a host and port; "
        "either may be empty.",
    )
    outgoing_max_response_bytes: int = Field(
        default=2 * 1024 * 1024,
        ge=1024,
        le=16 * 1024 * 1024,
        description="Largest body of a response, before and after decoding.",
    )
    outgoing_max_total_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=1024 * 1024,
        description="Requests and responses that all calls hold together; others wait. One call "
        "gets what it needs though it may be more.",
    )
    outgoing_max_header_bytes: int = Field(
        default=64 * 1024,
        ge=1024,
        le=96 * 1024,
        description="Largest headers of a response, all together.",
    )
    outgoing_connect_timeout: Seconds = Field(
        default=timedelta(seconds=10),
        gt=timedelta(0),
        description="Time for a connection of a call, the name's resolution included.",
    )
    outgoing_max_redirects: int = Field(
        default=10, ge=0, le=50, description="Redirects that a call follows, where it follows any."
    )

    @field_validator("outgoing_allow", "outgoing_deny")
    @classmethod
    def _check_rules(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        AddressRules(rules)
        return rules

    @field_validator("outgoing_connect_to")
    @classmethod
    def _check_redirections(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        read_redirections(texts)
        return texts

    @override
    def file_problems(self) -> Iterator[str]:
        variables = "STIGMA_API_TLS_CLIENT_CERT", "STIGMA_API_TLS_CLIENT_KEY"
        yield from unusable_authorities("STIGMA_API_TLS_CA", self.api_tls_ca)
        yield from unusable_key_pair(variables, self.api_tls_client_cert, self.api_tls_client_key)

    def outgoing_policy(self) -> OutgoingPolicy:
        """Return the outgoing policy."""
        return OutgoingPolicy(self.outgoing_allow, self.outgoing_deny, self.outgoing_connect_to)

    def http_limits(self) -> HttpLimits:
        """Return the limits of the client of calls."""
        return HttpLimits(
            response_bytes=self.outgoing_max_response_bytes,
            header_bytes=self.outgoing_max_header_bytes,
            connect_seconds=self.outgoing_connect_timeout.total_seconds(),
            redirects=self.outgoing_max_redirects,
            connections=self.max_concurrent_calls,
        )

    def api_connection(self) -> ApiConnection:
        """Return the connection to the API, not yet opened.

        Raises:
            ConfigurationError: the key cannot be sent, or would be in clear, or half a certificate
                is given.
        """
        try:
            files = TlsFiles(
                ca=self.api_tls_ca,
                certificate=self.api_tls_client_cert,
                key=self.api_tls_client_key,
                server_name=self.api_tls_server_name,
            )
            return ApiConnection(
                self.api_address,
                api_key=self.api_key.get_secret_value() or None,
                tls=files if self.api_tls or files != TlsFiles() else None,
                allow_insecure=self.api_allow_insecure,
            )
        except ConnectionSettingError as error:
            raise ConfigurationError(error.by_variables) from None
