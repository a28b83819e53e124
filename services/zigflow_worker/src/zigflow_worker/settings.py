"""Settings of the workflow engine."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from stigma.runtime import ConfigurationError
from stigma.runtime.settings import Port, ServiceSettings
from stigma_client import ApiConnection, TlsFiles


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

    def api_connection(self) -> ApiConnection:
        """Return the connection to the API, not yet opened.

        Raises:
            ConfigurationError: the key would be sent in clear, or half a certificate is given.
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
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
