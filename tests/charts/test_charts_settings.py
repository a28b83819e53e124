"""What the charts put into a container's environment is what its service reads, and reads well."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio.envconfig import ClientConfig

from ai_worker.settings import Settings as AiWorkerSettings
from stigma.runtime import ServiceSettings
from stigma.runtime.settings import variables
from stigma_api.settings import ApiSettings
from stigma_client import ApiConnection
from stigma_orchestrator.settings import OrchestratorSettings
from tests.charts import matrix
from tests.charts.helm import SERVICES, UMBRELLA, WORKERS, Helm, environment, pod_specs
from zigflow_worker.settings import EngineSettings

SETTINGS: dict[str, type[ServiceSettings]] = {
    "stigma-api": ApiSettings,
    "stigma-orchestrator": OrchestratorSettings,
    "ai-worker": AiWorkerSettings,
    "zigflow-worker": EngineSettings,
}
TEMPORAL = {
    "TEMPORAL_ADDRESS",
    "TEMPORAL_NAMESPACE",
    "TEMPORAL_API_KEY",
    "TEMPORAL_TLS",
    "TEMPORAL_TLS_SERVER_NAME",
    "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
    "TEMPORAL_TLS_CLIENT_CERT_PATH",
    "TEMPORAL_TLS_CLIENT_KEY_PATH",
}
STANDARD = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "HTTPS_PROXY", "NO_PROXY"}
# stigma_client's, which the engine and the `stigma` command use.
API_CLIENT = {
    "STIGMA_API_ADDRESS",
    "STIGMA_API_KEY",
    "STIGMA_API_TLS",
    "STIGMA_API_TLS_CA",
    "STIGMA_API_TLS_CLIENT_CERT",
    "STIGMA_API_TLS_CLIENT_KEY",
    "STIGMA_API_TLS_SERVER_NAME",
    "STIGMA_API_ALLOW_INSECURE",
}
# Not for operators: the sandbox is for tests, and the Worker Controller sets the other two.
NOT_SET = {"STIGMA_WORKFLOW_SANDBOX", "TEMPORAL_DEPLOYMENT_NAME", "TEMPORAL_WORKER_BUILD_ID"}
# Those of a Secret's values that services take a look at.
SECRETS = {
    "STIGMA_REGISTRY_URL": "postgresql+asyncpg://stigma@db/stigma",
    "STIGMA_CONSOLE_SESSION_SECRET": "a secret of thirty-two characters",
}


def known(chart: str) -> set[str]:
    """Return every variable that a service reads."""
    own = set(variables(SETTINGS[chart]))
    return own | TEMPORAL | STANDARD | (API_CLIENT if chart == "zigflow-worker" else set())


def service_environment(helm: Helm, chart: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the environment of a service's container."""
    pods = pod_specs(helm.documents(chart, values))
    [pod] = [pods[name] for name in pods if name.startswith(("Deployment/", "WorkerDeployment/"))]
    return environment(pod["containers"][0])


@pytest.fixture
def settings_of(monkeypatch) -> Callable[[str, dict[str, Any]], ServiceSettings]:
    """A service's settings, read from a rendered environment."""

    def read(chart: str, rendered: dict[str, Any]) -> ServiceSettings:
        for name, value in rendered.items():
            secret = SECRETS.get(name, "from-a-secret")
            monkeypatch.setenv(name, value if isinstance(value, str) else secret)
        return SETTINGS[chart]()

    return read


@pytest.mark.parametrize("chart", SERVICES)
def test_variables_are_known_to_the_service(helm4: Helm, chart):
    sets = [matrix.least(chart), matrix.everything(chart)]
    sets += [values for _, values in matrix.switches(chart)]
    rendered = {name for values in sets for name in service_environment(helm4, chart, values)}
    extra = {"SSL_CERT_FILE", "TZ", "LOCAL_MODELS_KEY"}  # of `calls`, `extraEnv` and `apiKeys`
    assert rendered - known(chart) - extra == set()


@pytest.mark.parametrize("chart", SERVICES)
def test_every_setting_can_be_set(helm4: Helm, chart):
    rendered = set(service_environment(helm4, chart, matrix.everything(chart)))
    assert known(chart) - NOT_SET - rendered <= (
        # Each is one of two ways: everything uses the other.
        {"TEMPORAL_API_KEY", "STIGMA_API_ALLOW_INSECURE", "HTTPS_PROXY", "NO_PROXY"}
    )


@pytest.mark.parametrize("chart", SERVICES)
def test_defaults_are_those_of_the_service(helm4: Helm, chart, settings_of):
    settings = settings_of(chart, service_environment(helm4, chart, matrix.least(chart)))
    for name, field in type(settings).model_fields.items():
        differ = {"admin_host", "api_host", "api_address", "api_key", "registry_url"}
        if name in differ | {"principals_file", "log_format"}:
            continue
        assert getattr(settings, name) == field.default, name


@pytest.mark.parametrize("chart", SERVICES)
def test_everything_arrives(helm4: Helm, chart, settings_of):
    settings = settings_of(chart, service_environment(helm4, chart, matrix.everything(chart)))
    assert settings.log_level == "DEBUG"
    assert settings.task_queue_prefix == "blue-"
    assert settings.admin_host == "::"
    assert settings.shutdown_grace == timedelta(seconds=120)
    defaults = {name: field.default for name, field in type(settings).model_fields.items()}
    limits = [name for name in defaults if "max_" in name]
    assert limits
    assert all(getattr(settings, name) != defaults[name] for name in limits)


@pytest.mark.parametrize("chart", SERVICES)
def test_the_grace_is_one_value(helm4: Helm, chart):
    for grace in (1, 30, 3600):
        values = matrix.merged(matrix.least(chart), {"shutdownGraceSeconds": grace})
        pods = pod_specs(helm4.documents(chart, values))
        [pod] = [pods[name] for name in pods if name.startswith("Deployment/")]
        assert environment(pod["containers"][0])["STIGMA_SHUTDOWN_GRACE"] == str(grace)
        assert pod["terminationGracePeriodSeconds"] == grace + 10


def test_a_pod_of_the_api_serves_on_while_callers_find_the_others(helm4: Helm):
    documents = helm4.documents("stigma-api", matrix.everything("stigma-api"))
    pod = pod_specs(documents)["Deployment/full-stigma-api"]
    [container] = pod["containers"]
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "20"]
    assert pod["terminationGracePeriodSeconds"] == 20 + 120 + 10


@pytest.mark.parametrize("chart", SERVICES)
def test_a_pod_without_others_ends_at_once(helm4: Helm, chart):
    for name, pod in pod_specs(helm4.documents(chart, matrix.least(chart))).items():
        if name.startswith("Deployment/"):
            assert "lifecycle" not in pod["containers"][0]


def test_callbacks_can_be_off(helm4: Helm, settings_of):
    off = matrix.merged(matrix.least("stigma-api"), {"callbacks": {"enabled": False}})
    settings = settings_of("stigma-api", service_environment(helm4, "stigma-api", off))
    assert isinstance(settings, ApiSettings)
    assert not settings.callbacks_enabled


@pytest.mark.parametrize("chart", SERVICES)
def test_temporal_client_takes_the_connection(helm4: Helm, chart, tmp_path):
    rendered = service_environment(helm4, chart, matrix.everything(chart))
    strings = {name: value for name, value in rendered.items() if isinstance(value, str)}
    for name in strings:
        if name.endswith("_PATH"):
            strings[name] = str(tmp_path / "file.pem")
    (tmp_path / "file.pem").write_text("PEM")
    options = ClientConfig.load_client_connect_config(override_env_vars=strings)
    assert options["target_host"] == "temporal.example.com:7243"
    assert options["namespace"] == "production"
    tls = options["tls"]
    assert not isinstance(tls, bool)
    assert tls.domain == "temporal.internal"
    assert tls.server_root_ca_cert == tls.client_cert == tls.client_private_key == b"PEM"


def test_engine_client_takes_the_connection(helm4: Helm):
    everything = service_environment(helm4, "zigflow-worker", matrix.everything("zigflow-worker"))
    for rendered in (
        everything,
        service_environment(helm4, "zigflow-worker", matrix.least("zigflow-worker")),
    ):
        given = {
            name: value if isinstance(value, str) else "secret" for name, value in rendered.items()
        }
        ApiConnection.from_environment(given)  # raises where the key would go in clear


def test_umbrella_engine_reaches_its_api(helm4: Helm):
    documents = helm4.documents(UMBRELLA, matrix.least(UMBRELLA), release="x")
    by_name = {(d["kind"], d["metadata"]["name"]): d for d in documents}
    engine = environment(pod_specs(documents)["Deployment/x-zigflow-worker"]["containers"][0])
    host, port = engine["STIGMA_API_ADDRESS"].split(":")
    ports = by_name["Service", host]["spec"]["ports"]
    assert int(port) in {each["port"] for each in ports}
    reference = engine["STIGMA_API_KEY"]["secretKeyRef"]
    assert reference["key"] in by_name["Secret", reference["name"]]["stringData"]
    host, port = engine["TEMPORAL_ADDRESS"].split(":")
    assert int(port) in {each["port"] for each in by_name["Service", host]["spec"]["ports"]}


@pytest.mark.parametrize("chart", WORKERS)
def test_the_worker_controller_sets_its_own_variables(helm4: Helm, chart):
    rendered = service_environment(helm4, chart, matrix.versioned(chart))
    theirs = (TEMPORAL - {"TEMPORAL_TLS_SERVER_CA_CERT_PATH"}) | {
        "TEMPORAL_DEPLOYMENT_NAME",
        "TEMPORAL_WORKER_BUILD_ID",
    }
    # With an API key it does not say TLS.
    assert set(rendered) & theirs <= {"TEMPORAL_TLS"}
