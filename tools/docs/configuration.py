"""The configuration's reference, from the settings classes."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic_settings import BaseSettings

from ai_worker.settings import Settings as AiWorkerSettings
from stigma.runtime.settings import ServiceSettings, table_rows
from stigma_api.settings import ApiSettings
from stigma_orchestrator.settings import OrchestratorSettings
from tools.docs.markdown import code, head, table
from zigflow_worker.settings import EngineSettings

SERVICES: dict[str, type[BaseSettings]] = {
    "stigma_api": ApiSettings,
    "stigma_orchestrator": OrchestratorSettings,
    "ai_worker": AiWorkerSettings,
    "zigflow_worker": EngineSettings,
}

# What is read from the environment without a class: by `ApiConnection` and the command.
CALLERS = (
    ("STIGMA_API_ADDRESS", "localhost:7300", "The API: `host:port`, or a gRPC target."),
    ("STIGMA_API_KEY", "", "Sent as a bearer token."),
    (
        "STIGMA_API_TLS",
        "false",
        "Encrypt, trusting the system's authorities; implied by the next four.",
    ),
    ("STIGMA_API_TLS_CA", "", "PEM file of the authorities trusted instead."),
    ("STIGMA_API_TLS_CLIENT_CERT", "", "PEM file of the client's certificate (mTLS)."),
    ("STIGMA_API_TLS_CLIENT_KEY", "", "PEM file of the certificate's key."),
    (
        "STIGMA_API_TLS_SERVER_NAME",
        "",
        "Name in the server's certificate, where it is not its address's.",
    ),
    ("STIGMA_API_ALLOW_INSECURE", "false", "Send the key in clear to another machine."),
)
COMMAND = (
    ("STIGMA_TASK_QUEUE_PREFIX", "", "As the services have it: `run`, `doctor`."),
    ("STIGMA_OUTPUT", "text", "`json` prints JSON, as `--output json` does."),
    ("STIGMA_DEMO_MODEL", "gpt-5-mini", "Model that `demo` asks when `OPENAI_API_KEY` is set."),
    ("OPENAI_API_KEY", "", "With it `demo` asks a real model."),
    ("OPENAI_BASE_URL", "", "Where that model is."),
)

_TEMPORAL = """\
Temporal is configured by its own variables, for services and command alike: `TEMPORAL_ADDRESS`
(default `localhost:7233`), `TEMPORAL_NAMESPACE` (`default`), `TEMPORAL_API_KEY`, `TEMPORAL_TLS`,
`TEMPORAL_TLS_*`, and profiles of a file (`TEMPORAL_CONFIG_FILE`, `TEMPORAL_PROFILE`).

Traces are exported when `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is
set. OpenTelemetry's other variables hold as well.
"""


def page() -> str:
    """Return the page."""
    return "\n".join(_lines()).rstrip() + "\n"


def _lines() -> Iterator[str]:
    yield from head("Configuration", "the settings classes, services/*/src/*/settings.py")
    yield "Everything is an environment variable. `python -m SERVICE --help` prints the service's."
    yield "A value that is not valid is one line, and exit code 2. The charts' values are in their"
    yield "READMEs: [stigma](../../deploy/helm/stigma/README.md) has all."
    yield ""
    yield _TEMPORAL
    yield "## Every service"
    yield ""
    shared = table_rows(ServiceSettings)
    yield from _table(row for row in shared if row[0] != "STIGMA_ADMIN_PORT")
    for name, settings in SERVICES.items():
        yield f"## {name}"
        yield ""
        yield from _table(row for row in table_rows(settings) if row not in shared)
    yield "## Callers and the stigma command"
    yield ""
    yield "`stigma-client` and the command find the API by:"
    yield ""
    columns = ("variable", "default", "meaning")
    yield from table(columns, ((code(v), code(d), m) for v, d, m in CALLERS))
    yield "The command also reads:"
    yield ""
    yield from table(columns, ((code(v), code(d), m) for v, d, m in COMMAND))


def _table(rows: Iterator[tuple[str, str, str, str]]) -> Iterator[str]:
    columns = ("variable", "type", "default", "meaning")
    shown = ((code(v), t, "" if d == "-" else code(d), m) for v, t, d, m in rows)
    return table(columns, shown)
