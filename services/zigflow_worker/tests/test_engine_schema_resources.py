"""Schemas that are fetched: once, before the first task, and kept as they were."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError

from services.zigflow_worker.tests.conftest import document
from services.zigflow_worker.tests.http_calls import evaluated, unauthenticated
from services.zigflow_worker.tests.web_server import WebServer
from stigma.contracts import engine_calls
from zigflow_worker.activities.resource_fetch import ResourceFetch
from zigflow_worker.definition import InvalidDocumentError
from zigflow_worker.outgoing.client import HttpClient
from zigflow_worker.outgoing.resources import Resources
from zigflow_worker.programs import compile_text
from zigflow_worker.tasks.registry import TASK_KINDS

SCHEMA = {"type": "object", "required": ["n"]}
BASE = "https://open-workflow-specification.org/spec/1.0.0/errors/"


@pytest.fixture
def resources(tmp_path: Path) -> Path:
    """The directory of files that documents may name."""
    directory = tmp_path / "resources"
    directory.mkdir()
    return directory


async def disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def body(uri: str, tasks: str = "do: [{a: {set: {m: '${ .n }'}}}]") -> str:
    return f"input: {{schema: {{resource: {{endpoint: '{uri}'}}}}}}\n{tasks}"


@pytest.mark.parametrize(
    "form",
    [
        "{resource: {endpoint: '%s'}}",
        "{format: json, resource: {name: input, endpoint: {uri: '%s'}}}",
        "{format: 'json:2020-12', resource: {endpoint: '%s'}}",
    ],
)
async def test_a_schema_is_fetched_and_holds(engine: Any, web: WebServer, form: str) -> None:
    web.answer("/schema.json", json.dumps(SCHEMA))
    text = f"input: {{schema: {form % f'{web.url}/schema.json'}}}\n"
    text += "do: [{a: {set: {m: '${ .n }'}}}]"
    assert await engine.run(text, {"n": 1}) == {"m": 1}
    problem = await engine.fault(text, {"m": 1})
    assert problem["type"] == BASE + "validation"
    assert "required property" in problem["detail"]


async def test_files_in_yaml_and_rules_of_tasks_have_schemas_too(
    engine: Any, resources: Path
) -> None:
    (resources / "number.yaml").write_text("type: object\nproperties: {m: {type: number}}\n")
    problem = await engine.fault(
        """
        use:
          functions:
            f:
              set: {m: "${ .n }"}
              output: {schema: {resource: {endpoint: "file:///number.yaml"}}}
        do: [{a: {call: f, export: {schema: {resource: {endpoint: number.yaml}}}}}]
        """,
        {"n": "text"},
    )
    assert problem["type"] == BASE + "validation"
    assert problem["instance"] == "/do/0/a"


async def test_a_run_keeps_the_text_that_it_began_with(engine: Any, web: WebServer) -> None:
    answers = [json.dumps(SCHEMA), "false", "false"]

    async def next_answer(_: Request) -> Response:
        return Response(answers.pop(0), headers={"cache-control": "no-store"})

    web.routes["/schema.json"] = next_answer
    tasks = """
do:
  - ticks:
      for: {in: "[range(200)]"}
      do:
        - keep:
            set: {n: "${ .n + 1 }"}
            output: {schema: {resource: {endpoint: 'URI'}}}
""".replace("URI", f"{web.url}/schema.json")
    output = await engine.run(
        body(f"{web.url}/schema.json", tasks), {"n": 0}, historyLength=6, stepsPerActivation=100
    )
    assert output == {"n": 200}
    assert len([history async for history in engine.histories()]) > 1
    assert len(web.seen) == 1


async def test_a_schema_comes_to_its_run_as_json(web: WebServer, client: HttpClient) -> None:
    """Reading 256 KiB of YAML takes a workflow task longer than its 2 seconds."""
    web.answer("/schema.yaml", "type: object\nrequired: [n]\n")
    fetch = ResourceFetch(client, Resources(client, None), unauthenticated)
    call = evaluated({"resource": {"endpoint": f"{web.url}/schema.yaml"}})
    assert (await fetch.call(call)).output == '{"type":"object","required":["n"]}'


@pytest.mark.parametrize(
    ("answer", "problem", "detail"),
    [
        (("", 404), ("communication", 404), "404"),
        (("{", 200), ("configuration", 400), "the schema does not parse"),
        (("[1]", 200), ("configuration", 400), "expected a JSON Schema"),
        (('{"type": 5}', 200), ("configuration", 400), "not a valid JSON Schema"),
        (('{"$ref": "http://127.0.0.1:1/"}', 200), ("configuration", 400), "are not allowed"),
        (("\xff", 200), ("configuration", 400), "no text in UTF-8"),
        (
            (" " * (engine_calls.MAX_RESOURCES_BYTES + 1), 200),
            ("configuration", 400),
            "bytes together",
        ),
    ],
)
async def test_a_schema_that_cannot_be_had_fails_the_run_before_its_first_task(
    engine: Any, web: WebServer, answer: tuple[str, int], problem: tuple[str, int], detail: str
) -> None:
    web.answer("/schema.json", answer[0].encode("latin-1"), status_code=answer[1])
    handle = await engine.start(engine.document(body(f"{web.url}/schema.json")), {"n": 1})
    found = await engine.fault_of(handle)
    assert (found["type"].removeprefix(BASE), found["status"]) == problem
    assert found["instance"] == "/input/schema/resource/endpoint"
    assert detail in found["detail"]
    assert await handle.query("trace") == []


async def test_a_schema_is_fetched_with_its_authentication(
    engine: Any, web: WebServer, secrets: Path
) -> None:
    async def protected(request: Request) -> Response:
        allowed = request.headers.get("authorization") == "Bearer t0ken"
        return Response(json.dumps(SCHEMA), 200 if allowed else 401)

    web.routes["/schema.json"] = protected
    (secrets / "api").write_text('{"token": "t0ken"}')
    body = f"""
use:
  secrets: [api]
  authentications: {{ours: {{bearer: {{token: "${{ $secrets.api.token }}"}}}}}}
input:
  schema:
    resource: {{endpoint: {{uri: '{web.url}/schema.json', authentication: {{use: ours}}}}}}
do: [{{a: {{set: {{m: "${{ .n }}"}}}}}}]
"""
    assert await engine.run(body, {"n": 1}) == {"m": 1}
    assert "t0ken" not in "".join([str(history) async for history in engine.histories()])
    (secrets / "api").write_text('{"token": "old"}')
    problem = await engine.fault(body, {"n": 1})
    assert (problem["status"], problem["instance"]) == (401, "/input/schema/resource/endpoint/uri")


async def test_a_run_that_waits_for_a_schema_can_be_cancelled(engine: Any, web: WebServer) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def hang(request: Request) -> Response:
        asked.set()
        await disconnected(request)
        gone.set()
        return Response()

    web.routes["/schema.json"] = hang
    handle = await engine.start(engine.document(body(f"{web.url}/schema.json")), {"n": 1})
    async with asyncio.timeout(60):
        await asked.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as failure:
            await handle.result()
        await gone.wait()
    assert isinstance(failure.value.cause, CancelledError)


async def test_a_schema_that_takes_too_long_is_a_communication_error(
    engine: Any, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(request: Request) -> Response:
        await disconnected(request)
        return Response()

    monkeypatch.setattr(engine_calls, "FETCH_TIMEOUT", timedelta(milliseconds=300))
    web.routes["/schema.json"] = hang
    problem = await engine.fault(body(f"{web.url}/schema.json"), {"n": 1})
    assert (problem["type"], problem["status"]) == (BASE + "communication", 500)
    assert "took longer" in problem["detail"]


async def test_a_missing_file_is_a_configuration_error(engine: Any, resources: Path) -> None:
    problem = await engine.fault(body("file:///none.json"), {"n": 1})
    assert (problem["type"], problem["status"]) == (BASE + "configuration", 400)


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ("{}", "/input/schema: 'document' or 'resource' is required"),
        ("{document: {}, resource: {endpoint: a}}", "either 'document' or 'resource'"),
        ("{resource: {}}", "/input/schema/resource: 'endpoint' is required"),
        ("{resource: {endpoint: {}}}", "/resource/endpoint: 'uri' is required"),
        ("{resource: {endpoint: a, name: 5}}", "/resource/name: expected a string, not 5"),
        ("{resource: {endpoint: a, uri: b}}", "/resource/uri: unknown key 'uri'"),
        ("{resource: {endpoint: 5}}", "/resource/endpoint: expected a string, not 5"),
        ("{resource: {endpoint: '${ .a }'}}", "/endpoint: a schema is fetched before the first"),
        ("{resource: {endpoint: 'http://a/{b}'}}", "/endpoint: a schema is fetched before"),
        ("{resource: {endpoint: 'ftp://a/b'}}", "/endpoint: expected a URI: http, https, file"),
        (
            "{resource: {endpoint: {uri: a, authentication: {use: b}}}}",
            "/authentication/use: 'b' is not defined in 'use.authentications'",
        ),
        (
            "{resource: {endpoint: {uri: a, authentication: {bearer: {token: '${ .a + }'}}}}}",
            "/authentication/bearer/token: invalid expression",
        ),
        (
            "{resource: {endpoint: {uri: a, authentication: {bearer: {token: '${ $context }'}}}}}",
            "/authentication/bearer/token: invalid expression",
        ),
        (
            "{resource: {endpoint: {uri: a, authentication: {bearer: {token: '${$secrets.a}'}}}}}",
            "the secret 'a' is not declared in 'use.secrets'",
        ),
        ("{format: avro, resource: {endpoint: a}}", "schema format 'avro' is not supported"),
    ],
)
def test_wrong_resources_are_found_before_a_run(schema: str, problem: str) -> None:
    with pytest.raises(InvalidDocumentError) as invalid:
        compile_text(
            document(f"input: {{schema: {schema}}}\ndo: [{{a: {{set: {{b: 1}}}}}}]"), TASK_KINDS
        )
    assert problem in str(invalid.value)
