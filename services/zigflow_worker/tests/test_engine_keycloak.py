"""Tokens of a real authority, Keycloak: every grant, and the discovery of its endpoints."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest

from services.zigflow_worker.tests.token_server import CALL, Secrets, Sender
from stigma_cli.child_process import bound_to_parent
from stigma_cli.devserver import free_ports
from tests.stack.waiting import eventually
from zigflow_worker.errors import WorkflowError
from zigflow_worker.outgoing.authentication import TokenCache, authentication_of
from zigflow_worker.outgoing.messages import Authentication

ROOT = Path(__file__).parents[3]
SERVER = Path(os.environ.get("STIGMA_TOOLS_DIR", ROOT / ".tools"), "keycloak", "server")
LIBRARY = SERVER / "lib" / "quarkus-run.jar"

pytestmark = [
    pytest.mark.keycloak,
    pytest.mark.skipif(not LIBRARY.exists(), reason="no Keycloak: tools/keycloak/ensure"),
]

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
CLIENT = {"id": "engine", "secret": "engine-secret-of-the-tests-0123456789"}
ADA = {"username": "ada", "password": "ada-password"}
# As bin/kc.sh starts it, but in one process, and with less compiling, as it lives for seconds.
JAVA = (
    *("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx320m"),
    *(f"--add-opens=java.base/java.{part}=ALL-UNNAMED" for part in ("lang", "security", "util")),
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "-Djava.util.concurrent.ForkJoinPool.common.threadFactory="
    "io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory",
    "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
    *(f"-Dkc.home.dir={SERVER}", f"-Djboss.server.config.dir={SERVER}/conf"),
    *("-cp", f"{LIBRARY}", "io.quarkus.bootstrap.runner.QuarkusEntryPoint"),
)
START = (
    *("start", "--optimized", "--import-realm", "--cache=local", "--http-enabled=true"),
    *("--hostname-strict=false", "--http-host=127.0.0.1"),
)


@pytest.fixture(scope="session")
async def authority(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of the realm of Keycloak, which is started once."""
    [port] = free_ports(1)
    log = tmp_path_factory.mktemp("keycloak") / "log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *bound_to_parent([*JAVA, *START, f"--http-port={port}"]), stdout=output, stderr=output
        )
    try:
        url = f"http://127.0.0.1:{port}/realms/stigma"
        await eventually(
            lambda: _answers(url), within=timedelta(minutes=4), what=f"Keycloak ready; see {log}"
        )
        yield url
    finally:
        process.kill()
        await process.wait()


async def _answers(url: str) -> bool:
    try:
        async with httpx2.AsyncClient() as client:
            return (await client.get(url)).status_code == 200
    except httpx2.TransportError:
        return False


class Realm:
    """Calls with tokens of the realm."""

    def __init__(self, url: str, sender: Sender) -> None:
        self.url = url
        self._sender = sender

    def authentication(self, scheme: str, **settings: Any) -> Authentication:
        policy = {"authority": self.url, "client": CLIENT, **settings}
        if scheme == "oauth2":
            policy["endpoints"] = {"token": "/protocol/openid-connect/token"}
        return authentication_of(
            {scheme: policy}, secrets=Secrets(), sender=self._sender, tokens=TokenCache()
        )

    async def token(self, scheme: str, **settings: Any) -> str:
        authentication = self.authentication(scheme, **settings)
        await authentication.apply(CALL)
        return authentication.authorization["parameter"]

    async def response(self, **parameters: str) -> dict[str, Any]:
        """Return the token endpoint's answer, which no authentication of ours shows."""
        async with httpx2.AsyncClient() as client:
            response = await client.post(
                f"{self.url}/protocol/openid-connect/token",
                data={"client_id": CLIENT["id"], "client_secret": CLIENT["secret"], **parameters},
            )
        answer: dict[str, Any] = response.raise_for_status().json()
        return answer


@pytest.fixture
async def realm(authority: str) -> AsyncIterator[Realm]:
    async with httpx2.AsyncClient() as client:
        yield Realm(authority, Sender(client))


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


@pytest.mark.parametrize("suffix", ["", "/.well-known/openid-configuration"])
async def test_client_credentials_of_a_discovered_endpoint(suffix: str, realm: Realm):
    settings = {"authority": realm.url + suffix, "issuers": [realm.url]}
    token = await realm.token("oidc", grant="client_credentials", **settings)
    assert claims_of(token)["azp"] == "engine"


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_client_credentials_by_oauth2(method: str, realm: Realm):
    client = {**CLIENT, "authentication": method}
    token = await realm.token("oauth2", grant="client_credentials", client=client, scopes=["email"])
    assert "email" in claims_of(token)["scope"]


async def test_client_secret_jwt_is_verified(realm: Realm):
    client = {
        "id": "engine-jwt",
        "secret": "engine-jwt-secret-of-the-tests-012345",
        "authentication": "client_secret_jwt",
    }
    token = await realm.token("oidc", grant="client_credentials", client=client)
    assert claims_of(token)["azp"] == "engine-jwt"


async def test_a_token_of_a_user_by_password_is_exchanged_and_refreshed(realm: Realm):
    token = await realm.token("oauth2", grant="password", **ADA)
    assert claims_of(token)["preferred_username"] == "ada"
    subject = {"token": token, "type": ACCESS_TOKEN}
    exchanged = await realm.token("oidc", grant=EXCHANGE, subject=subject)
    assert exchanged != token
    assert claims_of(exchanged)["preferred_username"] == "ada"

    given = (await realm.response(grant_type="password", **ADA))["refresh_token"]
    subject = {"token": given, "type": "urn:ietf:params:oauth:token-type:refresh_token"}
    refreshed = await realm.token("oidc", grant="refresh_token", subject=subject)
    assert claims_of(refreshed)["preferred_username"] == "ada"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"grant": "password", **ADA, "password": "wrong-5e1f"}, "invalid_grant, status 400"),
        (
            {"grant": "client_credentials", "client": {**CLIENT, "secret": "wrong-5e1f"}},
            "unauthorized_client, status 401",
        ),
        ({"grant": "client_credentials", "scopes": ["none"]}, "invalid_scope, status 400"),
        (
            {"grant": "client_credentials", "issuers": ["http://elsewhere.example"]},
            "gave a token of an issuer that 'issuers' does not name",
        ),
    ],
)
async def test_a_refusal_is_an_authentication_error(settings: Any, reason: str, realm: Realm):
    with pytest.raises(WorkflowError) as error:
        await realm.token("oauth2", **settings)
    assert error.value.problem["status"] == 401
    assert reason in str(error.value)
    assert "5e1f" not in str(error.value)
