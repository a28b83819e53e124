"""A console on a free port, and those who look at it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from services.stigma_api.tests.api_server import Api, running_api
from services.stigma_api.tests.fake_executions import FakeAgent, FakeModel, FakeSession
from stigma_api.access.principals import Action, Principal, Principals

SECRET = "a secret of thirty-two characters"


def principal_with_key(name: str, **permissions: Any) -> Principal:
    digest = hashlib.sha256(f"{name}-key".encode()).hexdigest()
    return Principal(name=name, key_sha256=[digest], **permissions)


PRINCIPALS = Principals(
    [
        principal_with_key("root", actions=frozenset({Action.ADMIN})),
        principal_with_key("caller"),
        principal_with_key("other"),
        principal_with_key("nobody", actions=frozenset()),
    ]
)


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {name}-key"}


def metadata(name: str) -> dict[str, Any]:
    """The same for gRPC."""
    return {"metadata": list(bearer(name).items())}


def http_client(api: Api, name: str = "", **options: Any) -> httpx2.AsyncClient:
    """Return an HTTP client of the console, with a principal's key if one is named."""
    assert api.console is not None
    headers = bearer(name) if name else {}
    return httpx2.AsyncClient(
        base_url=api.console.url, headers=headers, timeout=20, trust_env=False, **options
    )


@asynccontextmanager
async def api_with_console(
    address: str, directory: Path, *, principals: Principals | None = PRINCIPALS, **settings: Any
) -> AsyncIterator[Api]:
    """An API with a console, and no workers."""
    given = {"console_enabled": True, "console_port": 0, **settings}
    if principals is not None:
        given["principals_file"] = directory / "principals.yaml"
    async with running_api(address, directory, principals=principals, **given) as api:
        yield api


@asynccontextmanager
async def running_agents(client: Client, api: Api) -> AsyncIterator[None]:
    """Agents that do what their message says."""
    model = FakeModel()
    async with Worker(
        client,
        task_queue=api.queues.orchestrator,
        workflows=[FakeAgent, FakeSession],
        activities=[model.call_model, model.deliver_callback],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield


async def events(browser: httpx2.AsyncClient, path: str) -> AsyncGenerator[dict[str, str], None]:
    """Yield the parts of a page as they come, until the server says that it is the end."""
    async with browser.stream("GET", path) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"] == "text/event-stream"
        async for line in response.aiter_lines():
            if line == "event: end":
                return
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: ")).get("fragments", {})
    raise AssertionError("the stream broke off")
