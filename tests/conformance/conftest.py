"""One engine, as a process, and one outside world for all of these tests; and their count."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.specification import EXAMPLES, SCENARIOS
from tests.stack.tables import DIRECTORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conformance.runs import Engine
    from tests.conformance.stand_ins import StandIns

_COUNTED = re.compile(r"tests/conformance/test_(kit|examples)\.py::test_(?!own_)(?!refused)")


class PassedTests:
    """Counts scenarios and examples that passed, and says so in the run's last line."""

    def __init__(self) -> None:
        self._passed = {"kit": 0, "examples": 0}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in a test."""
        found = _COUNTED.match(report.nodeid)
        if found and report.when == "call" and report.passed:
            self._passed[found[1]] += 1

    def line(self) -> str:
        """The count, in words that scripts can search for."""
        kit, examples = self._passed["kit"], self._passed["examples"]
        return f"CTK {kit}/{SCENARIOS}, examples {examples}/{EXAMPLES}"

    def pytest_unconfigure(self) -> None:
        """Write it, unless this process runs a part of all tests."""
        if any(self._passed.values()) and DIRECTORY not in os.environ:
            sys.stdout.write(f"{self.line()}\n")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(PassedTests(), "stigma-conformance")


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
