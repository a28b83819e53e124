"""The worked example of `docs/calls-openapi.md`, as it is written."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.docs.pages import ROOT, read_page
from zigflow_worker.settings import EngineSettings

from .web_server import WebServer, web_server

OPENAPI = """\
openapi: 3.1.0
info: {title: Pets, version: '1'}
paths:
  /pets:
    get:
      operationId: findPets
      parameters:
        - {name: status, in: query, schema: {type: string}}
        - {name: tags, in: query, explode: false, schema: {type: array}}
      responses: {200: {description: Pets, content: {application/json: {}}}}
  /pets/{petId}/adoption:
    put:
      operationId: adoptPet
      parameters: [{name: petId, in: path, required: true, schema: {type: integer}}]
      requestBody: {content: {application/json: {schema: {required: [family]}}}}
      responses: {204: {description: Adopted}}
"""


@pytest.fixture
async def web() -> AsyncIterator[WebServer]:
    async with web_server() as web:
        web.answer("/openapi.yaml", OPENAPI)
        pets = [{"id": 7, "name": "Milou"}, {"id": 8}]
        web.answer("/pets", json.dumps(pets), media_type="application/json")
        web.answer("/pets/7/adoption", status_code=204)
        yield web


@pytest.fixture
def settings(web: WebServer) -> EngineSettings:
    """Settings with which the example's host is here."""
    place = f"pets.example.com:80:127.0.0.1:{web.port}"
    return EngineSettings(outgoing_allow=("127.0.0.0/8",), outgoing_connect_to=(place,))


async def test_the_example_of_openapi_runs(engine: Any, web: WebServer) -> None:
    text = read_page(ROOT / "docs" / "calls-openapi.md").block("openapi").text
    handle = await engine.start(text, {"tags": ["small", "calm"]}, name="adopt")
    assert await handle.result() == 204
    find, adopt = (seen for seen in web.seen if seen.path != "/openapi.yaml")
    assert find.query == "status=available&tags=small,calm"
    assert find.headers["host"] == "pets.example.com"
    assert (adopt.method, json.loads(adopt.body)) == ("PUT", {"family": "Miller"})
