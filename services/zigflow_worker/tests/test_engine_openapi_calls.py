"""`call: openapi`, from its document to its output."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from zigflow_worker.activities import held_documents
from zigflow_worker.activities.openapi_call import OpenApiCall
from zigflow_worker.definition import InvalidDocumentError
from zigflow_worker.errors import (
    AUTHORIZATION,
    COMMUNICATION,
    CONFIGURATION,
    EXPRESSION,
    VALIDATION,
    ErrorType,
    WorkflowError,
)
from zigflow_worker.outgoing.client import HttpClient
from zigflow_worker.outgoing.resources import Resources
from zigflow_worker.programs import compile_text
from zigflow_worker.tasks.registry import TASK_KINDS

from .conftest import document
from .http_calls import evaluated, unauthenticated
from .openapi_documents import PETSTORE, api, parameter
from .web_server import WebServer

PET = {"id": 1, "name": "Milou", "status": "available"}


@pytest.fixture
def web(web: WebServer) -> WebServer:
    """A petstore: its document has no host, so that it is its server's."""
    document = {key: value for key, value in PETSTORE.items() if key not in ("host", "schemes")}
    web.answer("/v2/swagger.json", json.dumps(document), media_type="application/json")
    web.answer("/v2/pet/1", json.dumps(PET), media_type="application/json")
    web.answer("/v2/pet/findByStatus", json.dumps([PET, PET]), media_type="application/json")
    return web


async def make(
    client: HttpClient, endpoint: str, *, directory: Path | None = None, **arguments: Any
) -> Any:
    """The output of a call, its document fetched anew."""
    secret_paths = arguments.pop("secret_paths", ())
    written = {"document": {"uriTemplate": endpoint, "uriValues": {}}, **arguments}
    handler = OpenApiCall(client, Resources(client, directory), unauthenticated)
    return (await handler.call(evaluated(written, secret_paths=secret_paths))).output


async def fault(
    client: HttpClient, endpoint: str, kind: ErrorType, status: int, detail: str, **more: Any
) -> None:
    with pytest.raises(WorkflowError) as raised:
        await make(client, endpoint, **more)
    problem = raised.value.problem
    assert (problem["type"], problem["status"]) == (kind.uri, status)
    assert detail in str(problem["detail"])


async def test_the_output_has_each_form(client: HttpClient, web: WebServer) -> None:
    found: dict[str, Any] = {
        "operationId": "findPetsByStatus",
        "parameters": {"status": "available"},
    }
    assert await make(client, f"{web.url}/v2/swagger.json", **found) == [PET, PET]
    assert web.seen[-1].query == "status=available"
    one: dict[str, Any] = {"operationId": "getPetById", "parameters": {"petId": 1}}
    response = await make(client, f"{web.url}/v2/swagger.json", **one, output="response")
    assert response["request"]["uri"] == f"{web.url}/v2/pet/1"
    assert response["request"]["method"] == "GET"
    assert (response["statusCode"], response["content"]) == (200, PET)
    raw = await make(client, f"{web.url}/v2/swagger.json", **one, output="raw")
    assert raw == "eyJpZCI6IDEsICJuYW1lIjogIk1pbG91IiwgInN0YXR1cyI6ICJhdmFpbGFibGUifQ=="


async def test_a_body_is_sent_as_its_type_says(client: HttpClient, web: WebServer) -> None:
    web.answer("/v2/pet", "{}", media_type="application/json")
    pet = {"name": "Milou", "photoUrls": []}
    await make(client, f"{web.url}/v2/swagger.json", operationId="addPet", parameters=pet)
    seen = web.seen[-1]
    assert (seen.method, json.loads(seen.body)) == ("POST", pet)
    assert seen.headers["content-type"] == "application/json"


async def test_redirects_are_followed_where_it_is_asked_for(
    client: HttpClient, web: WebServer
) -> None:
    web.answer("/v2/pet/2", status_code=302, headers={"location": "/v2/pet/1"})
    two: dict[str, Any] = {"operationId": "getPetById", "parameters": {"petId": 2}}
    place = f"{web.url}/v2/swagger.json"
    assert await make(client, place, **two, redirect=True) == PET
    await fault(client, place, COMMUNICATION, 302, "HTTP status 302 Found", **two)


async def test_documents_come_from_files_with_their_references(
    client: HttpClient, web: WebServer, tmp_path: Path
) -> None:
    (tmp_path / "apis").mkdir()
    operation = {"parameters": [{"$ref": "../common/page.yaml#/size"}]}
    described = api(operation, path="/pets", servers=[{"url": web.url}])
    (tmp_path / "apis" / "pets.json").write_text(json.dumps(described))
    (tmp_path / "common").mkdir()
    page = "size: {name: size, in: query, schema: {type: integer}}"
    (tmp_path / "common" / "page.yaml").write_text(page)
    web.answer("/pets", "[]", media_type="application/json")
    for place in ("file://apis/pets.json", "apis/pets.json", "file:///apis/pets.json"):
        assert (
            await make(client, place, directory=tmp_path, operationId="do", parameters={"size": 5})
            == []
        )
    assert [(seen.path, seen.query) for seen in web.seen] == [("/pets", "size=5")] * 3


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ("http://127.0.0.1:1/secret.json", CONFIGURATION),
        ("file:///etc/passwd", CONFIGURATION),
        ("../../etc/passwd", CONFIGURATION),
        ("..%2F..%2Fetc/passwd", AUTHORIZATION),
    ],
)
async def test_references_lead_nowhere_else(
    client: HttpClient, tmp_path: Path, reference: str, kind: ErrorType
) -> None:
    (tmp_path / "api.json").write_text(json.dumps(api({"parameters": [{"$ref": reference}]})))
    status = 403 if kind is AUTHORIZATION else 400
    await fault(client, "api.json", kind, status, "", directory=tmp_path, operationId="do")


async def test_documents_have_limits(client: HttpClient, web: WebServer, tmp_path: Path) -> None:
    web.answer("/large.json", b" " * 3_000_000)
    web.answer("/binary.json", b"\xff\xfe")
    large, binary = f"{web.url}/large.json", f"{web.url}/binary.json"
    await fault(client, large, COMMUNICATION, 500, "larger than", operationId="do")
    await fault(client, binary, CONFIGURATION, 400, "no text in UTF-8", operationId="do")
    await fault(client, f"{web.url}/none", COMMUNICATION, 404, "status 404", operationId="do")
    passwd = "file:///etc/passwd"
    await fault(client, passwd, CONFIGURATION, 400, "no file", directory=tmp_path, operationId="do")
    denied = "http://169.254.169.254/openapi.json"
    await fault(client, denied, AUTHORIZATION, 403, "does not allow", operationId="do")


@pytest.mark.parametrize(
    ("arguments", "kind", "detail"),
    [
        ({"operationId": "fly"}, CONFIGURATION, "it has no operation 'fly'"),
        ({"operationId": "getPet"}, CONFIGURATION, "'getPet', did you mean 'getPetById'?"),
        ({"operationId": 5}, EXPRESSION, "'operationId' is not a text"),
        ({"operationId": "getPetById", "parameters": [1]}, EXPRESSION, "'parameters' is not a map"),
        ({"operationId": "getPetById", "redirect": "yes"}, EXPRESSION, "'redirect' is not true or"),
        ({"operationId": "getPetById", "parameters": {"petId": "x"}}, VALIDATION, '"x" is not of'),
    ],
)
async def test_arguments_that_are_wrong_are_told_of(
    client: HttpClient, web: WebServer, arguments: Any, kind: ErrorType, detail: str
) -> None:
    await fault(client, f"{web.url}/v2/swagger.json", kind, 400, detail, **arguments)
    assert [seen.path for seen in web.seen] in ([], ["/v2/swagger.json"])


async def test_secrets_are_in_neither_output_nor_error(client: HttpClient, web: WebServer) -> None:
    described = api({"parameters": [parameter("key", "query", {"maxLength": 9})]}, path="/v2/pet/1")
    described["servers"] = [{"url": web.url}]
    web.answer("/api.json", json.dumps(described))
    web.answer("/v2/pet/1", "{}", media_type="application/json")
    call: dict[str, Any] = {
        "operationId": "do",
        "output": "response",
        "secret_paths": [("parameters", "key")],
    }
    place = f"{web.url}/api.json"
    output = await make(client, place, **call, parameters={"key": "hunter2"})
    assert web.seen[-1].query == "key=hunter2"
    assert "hunter2" not in json.dumps(output)
    hidden = "the parameters, which may hold secrets, do not match"
    await fault(client, place, VALIDATION, 400, hidden, **call, parameters={"key": "hunter2" * 9})


async def test_a_document_calls_an_operation(engine: Any, web: WebServer) -> None:
    output = await engine.run(
        f"""
        do:
          - find:
              call: openapi
              with:
                document: {{name: petstore, endpoint: "{web.url}/v2/{{file}}"}}
                operationId: findPetsByStatus
                parameters: {{status: "${{ .status }}"}}
              output: {{as: . | length}}
          - get:
              call: openapi
              with:
                document: {{endpoint: {{uri: "${{ $workflow.input.place }}"}}}}
                operationId: ${{ "getPetById" }}
                parameters: '${{ {{petId: 1}} }}'
                output: ${{ "response" }}
                redirect: ${{ false }}
              output: {{as: .content.name}}
        """,
        {"status": "available", "file": "swagger.json", "place": f"{web.url}/v2/swagger.json"},
    )
    assert output == "Milou"


async def test_a_failure_has_the_task_s_place(engine: Any, web: WebServer) -> None:
    problem = await engine.fault(
        f"""
        do:
          - get:
              call: openapi
              with:
                document: {{endpoint: "{web.url}/v2/swagger.json"}}
                operationId: getPetById
                parameters: {{petId: 404}}
        """
    )
    assert problem["type"] == COMMUNICATION.uri
    assert (problem["status"], problem["instance"]) == (404, "/do/0/get")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{operationId: a}", "/do/0/call/with: 'document' is required"),
        ("{document: {endpoint: a}}", "/do/0/call/with: 'operationId' is required"),
        ("{document: {endpoint: a}, operationId: 5}", "with/operationId: expected a string, not 5"),
        ("{document: {}, operationId: a}", "with/document: 'endpoint' is required"),
        ("{document: {endpoint: a, of: b}, operationId: a}", "with/document/of: unknown key 'of'"),
        (
            "{document: {endpoint: 'ftp://a/b'}, operationId: a}",
            "document/endpoint: expected a URI",
        ),
        ("{document: {endpoint: 'http://u:p@h/'}, operationId: a}", "credentials belong into"),
        ("{document: {endpoint: 'http://h/{+a}'}, operationId: a}", "takes names in braces"),
        ("{document: {endpoint: {}}, operationId: a}", "document/endpoint: 'uri' is required"),
        ("{document: {name: 5, endpoint: a}, operationId: a}", "document/name: expected a string"),
        ("{document: {endpoint: a}, operationId: a, parameters: 5}", "parameters: expected a map"),
        ("{document: {endpoint: a}, operationId: a, output: all}", "with/output: expected one of"),
        ("{document: {endpoint: a}, operationId: a, redirect: 1}", "expected true or false"),
        ("{document: {endpoint: a}, operationId: a, method: get}", "unknown key 'method'"),
    ],
)
def test_a_document_that_is_wrong_is_refused(arguments: str, message: str) -> None:
    body = f"do:\n  - call:\n      call: openapi\n      with: {arguments}\n"
    with pytest.raises(InvalidDocumentError) as raised:
        compile_text(document(body), TASK_KINDS)
    [problem] = raised.value.problems
    assert message in str(problem)
    assert problem.line >= 7


async def test_documents_that_do_not_come_fail_the_call(
    client: HttpClient, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_documents, "_FETCHING_TIME", timedelta(milliseconds=300))
    never = asyncio.Event()

    async def hang(_: Request) -> Response:
        await never.wait()
        return Response()

    web.routes["/v2/pets.json"] = hang
    document = {"openapi": "3.0.0", "paths": {"/pet": {"$ref": "pets.json"}}}
    web.answer("/v2/api.json", json.dumps(document), media_type="application/json")
    more = {"operationId": "getPetById"}
    await fault(client, f"{web.url}/v2/api.json", COMMUNICATION, 500, "took longer than", **more)
    never.set()
