"""The authentication of `call: openapi`: of its call, and of nothing else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.zigflow_worker.tests.conftest import document
from services.zigflow_worker.tests.web_server import WebServer, web_server
from zigflow_worker.definition import InvalidDocumentError
from zigflow_worker.programs import compile_text
from zigflow_worker.tasks.registry import TASK_KINDS

API = {
    "openapi": "3.1.0",
    "info": {"title": "Pets", "version": "1"},
    "components": {"securitySchemes": {"key": {"type": "apiKey", "in": "query", "name": "key"}}},
    "security": [{"key": []}],
    "paths": {"/pet": {"get": {"operationId": "getPet", "responses": {}}}},
}


@pytest.fixture
async def web() -> AsyncIterator[WebServer]:
    async with web_server() as server:
        server.answer("/api.json", json.dumps(API))
        server.answer("/pet", '{"id": 1}', media_type="application/json")
        yield server


def call(web: WebServer, authentication: str) -> str:
    return f"""
        use: {{authentications: {{ours: {{basic: {{username: jo, password: '${{ .word }}'}}}}}}}}
        do:
          - one:
              call: openapi
              with:
                document: {{endpoint: '{web.url}/api.json'}}
                operationId: getPet
                authentication: {authentication}
        """


async def test_an_authentication_of_the_call_is_sent_with_it_alone(
    engine: Any, web: WebServer
) -> None:
    assert await engine.run(call(web, "{use: ours}"), {"word": "p"}) == {"id": 1}
    described, called = web.seen
    assert "authorization" not in described.headers
    assert called.headers["authorization"] == "Basic am86cA=="
    assert called.query == ""


async def test_a_refused_authentication_is_a_communication_error(
    engine: Any, web: WebServer
) -> None:
    web.answer("/pet", status_code=401)
    problem = await engine.fault(call(web, "{use: ours}"), {"word": "p"})
    assert problem["type"].endswith("/errors/communication")
    assert (problem["status"], problem["instance"]) == (401, "/do/0/one")


@pytest.mark.parametrize(
    ("authentication", "problem"),
    [
        ("{use: theirs}", "/authentication/use: 'theirs' is not defined in 'use.authentications'"),
        ("{bearer: {}}", "/authentication/bearer: 'token' is required"),
        ("5", "/authentication: expected a map, not 5"),
    ],
)
def test_a_wrong_authentication_is_refused_with_its_place(
    authentication: str, problem: str
) -> None:
    body = call(WebServer(80), authentication)
    with pytest.raises(InvalidDocumentError) as invalid:
        compile_text(document(body), TASK_KINDS)
    assert problem in str(invalid.value)
