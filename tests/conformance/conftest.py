"""One engine, as a process, and one outside world for all of these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.table import ConformanceTable
from tests.stack.tables import add_table

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conformance.runs import Engine
    from tests.conformance.stand_ins import StandIns


def pytest_configure(config: pytest.Config) -> None:
    table = ConformanceTable()
    config.pluginmanager.register(table, "stigma-conformance-table")
    add_table(config, table)


@pytest.fixture(scope="package")
async def outside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StandIns]:
    """Stand-ins for every host that the kit and the examples name."""
    from tests.conformance.certificates import make_certificates
    from tests.conformance.stand_ins import TLS_HOSTS, stand_ins

    certificates = make_certificates(tmp_path_factory.mktemp("tls"), TLS_HOSTS)
    async with stand_ins(certificates) as servers:
        servers.authority = certificates.authority
        yield servers


@pytest.fixture(scope="package")
async def engine(
    new_package_stack: Any, outside: StandIns, tmp_path_factory: pytest.TempPathFactory
) -> Engine:
    """The engine as a process, for which the stand-ins are the world."""
    from tests.conformance.runs import Engine

    environment = {
        "SSL_CERT_FILE": str(outside.authority),
        "STIGMA_OUTGOING_ALLOW": "127.0.0.0/8",
        "STIGMA_OUTGOING_CONNECT_TO": outside.connect_to,
        "STIGMA_SECRETS_DIR": str(_secrets(tmp_path_factory.mktemp("secrets"))),
        "STIGMA_RESOURCES_DIR": str(_resources(tmp_path_factory.mktemp("resources"))),
    }
    stack = await new_package_stack(
        services=("zigflow_worker",), environment={"zigflow_worker": environment}
    )
    return Engine(stack.client, stack.queues.engine)


def _secrets(directory: Path) -> Path:
    """Write the secret of two examples: its authority has the same path for OAuth 2 and OIDC."""
    (directory / "mySecret").write_text(
        '{"authority": "http://keycloak/realms/fake-authority", "grant": "client_credentials",'
        ' "client": {"id": "secret-id", "secret": "secret-secret"}}',
        encoding="utf-8",
    )
    return directory


def _resources(directory: Path) -> Path:
    """Write the proto of an example: `file://app/greet.proto` is below the directory."""
    (directory / "app").mkdir()
    (directory / "app" / "greet.proto").write_text(
        'syntax = "proto3";\n'
        "package GreeterApi;\n"
        "message HelloRequest { string name = 1; }\n"
        "message HelloReply { string message = 1; }\n"
        "service Greeter { rpc SayHello(HelloRequest) returns (HelloReply); }\n",
        encoding="utf-8",
    )
    return directory
