"""Calls of the outside, as runs make them: secrets, failures, timeouts, workers that stop."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from temporalio.client import WorkflowFailureError

from services.zigflow_worker.tests.web_server import WebServer, raw_server, web_server
from stigma_client import StigmaPlugin
from zigflow_worker.activities.document_directory import DocumentDirectory
from zigflow_worker.activities.engine import DocumentActivities
from zigflow_worker.worker import new_worker

ERRORS = "https://open-workflow-specification.org/spec/1.0.0/errors/"
SECRET = "s3same-open"


async def history_text(engine: Any) -> str:
    return "".join([history.to_json() async for history in engine.histories()])


async def test_a_call_in_a_loop_with_input_output_and_export(engine: Any, web: WebServer) -> None:
    async def pet(request: Request) -> Response:
        return JSONResponse({"id": int(request.url.path.rpartition("/")[2]), "name": "Milou"})

    web.routes |= {"/pet/1": pet, "/pet/2": pet}
    output = await engine.run(
        f"""
        do:
          - each:
              for: {{each: id, in: "[1, 2]"}}
              do:
                - get:
                    call: http
                    input: {{from: "{{petId: $id}}"}}
                    with:
                      method: get
                      endpoint: {{uri: "{web.url}/pet/{{petId}}"}}
                      headers: {{X-Seen: "${{ ($context.seen // []) | length }}"}}
                    output: {{as: .id}}
                    export: {{as: "{{seen: (($context.seen // []) + [.])}}"}}
          - end: {{set: {{seen: "${{ $context.seen }}"}}}}
        """
    )
    assert output == {"seen": [1, 2]}
    assert [(seen.path, seen.headers["x-seen"]) for seen in web.seen] == [
        ("/pet/1", "0"),
        ("/pet/2", "1"),
    ]


@pytest.mark.parametrize(
    ("name", "characters"),
    [("pet", len("/do/0/pet")), ("p" * 400, 98), ("\N{CAT FACE}" * 100, 92)],
    ids=["short", "long", "long in bytes"],
)
async def test_a_call_is_known_by_its_task_in_history(
    engine: Any, web: WebServer, name: str, characters: int
) -> None:
    web.routes["/pet"] = lambda _: _answer()
    document = f'do: [{{{name}: {{call: http, with: {{method: get, endpoint: "{web.url}/pet"}}}}}}]'
    await engine.run(document)
    [history] = [history async for history in engine.histories()]
    summaries = [event.user_metadata.summary.data for event in history.events]
    [data] = filter(None, summaries)
    summary = json.loads(data)
    assert len(data) <= 400
    assert f"/do/0/{name}".endswith(summary.removeprefix("…"))
    assert len(summary) == characters


async def _answer() -> Response:
    return JSONResponse({})


async def test_a_status_is_an_error_that_try_catches(engine: Any, web: WebServer) -> None:
    caught = await engine.run(
        f"""
        do:
          - tryGetPet:
              try:
                - getPet: {{call: http, with: {{method: get, endpoint: "{web.url}/none"}}}}
              catch:
                errors:
                  with:
                    type: https://serverlessworkflow.io/dsl/errors/types/communication
                    status: 404
                as: error
                do: [{{tell: {{set: {{error: "${{ $error }}"}}}}}}]
        """
    )
    assert caught["error"] == {
        "type": f"{ERRORS}communication",
        "status": 404,
        "title": "Communication Error",
        "detail": f"GET http://127.0.0.1:{web.port}: HTTP status 404 Not Found",
        "instance": "/do/0/tryGetPet/try/0/getPet",
    }
    assert len(web.seen) == 1


async def test_secrets_go_out_and_into_no_history(
    engine: Any, web: WebServer, secrets: Path
) -> None:
    (secrets / "api").write_text(json.dumps({"key": SECRET, "user": "u"}))
    web.answer("/orders/7", '{"ok": true}', media_type="application/json")
    output = await engine.run(
        f"""
        use: {{secrets: [api]}}
        do:
          - remember: {{set: {{id: 7, tenant: blue}}, export: {{as: "{{tenant: .tenant}}"}}}}
          - order:
              call: http
              with:
                method: post
                endpoint: "{web.url}/orders/{{id}}"
                headers:
                  X-Key: ${{ "\\($context.tenant)-\\($secrets.api.key)" }}
                body: {{id: "${{ .id }}", by: ["${{ $secrets.api.user }}"]}}
                query: "${{ {{sig: $secrets.api.key}} }}"
                output: response
        """
    )
    [seen] = web.seen
    assert seen.headers["x-key"] == f"blue-{SECRET}"
    assert seen.query == f"sig={SECRET}"
    assert json.loads(seen.body) == {"id": 7, "by": ["u"]}
    assert output["content"] == {"ok": True}
    assert output["request"]["uri"] == f"{web.url}/orders/7"
    assert "x-key" not in output["request"]["headers"]
    assert SECRET not in await history_text(engine)


async def test_an_input_made_of_secrets_is_made_in_the_activity(
    engine: Any, web: WebServer, secrets: Path
) -> None:
    (secrets / "api").write_text(SECRET)
    web.answer("/blue/x", '"done"', media_type="application/json")
    output = await engine.run(
        f"""
        use: {{secrets: [api]}}
        do:
          - order:
              call: http
              input: {{from: {{key: "${{ $secrets.api }}", path: "${{ .path }}"}}}}
              with:
                method: get
                endpoint: "{web.url}/blue/{{path}}"
                headers: {{X-Key: "${{ .key }}", X-Same: "${{ $input.key }}", X-Plain: plain}}
              output: {{as: "{{content: ., input: $input, raw: $task.input}}"}}
        """,
        {"path": "x"},
    )
    assert output == {"content": "done", "input": {"path": "x"}, "raw": {"path": "x"}}
    [seen] = web.seen
    assert seen.headers["x-key"] == seen.headers["x-same"] == SECRET
    assert seen.headers["x-plain"] == "plain"
    assert SECRET not in await history_text(engine)


@pytest.mark.parametrize(
    ("expression", "error", "detail"),
    [
        ("$secrets.missing", ("authorization", 403), "there is no secret 'missing'"),
        ("$secrets.bound", ("authorization", 403), "may not go to the host '127.0.0.1'"),
        ("$secrets.api | tonumber", ("expression", 400), "'with/headers/X-Key'"),
        ("[$secrets.api]", ("expression", 400), "'headers.X-Key'"),
        ("$secrets.lines", ("configuration", 400), "control characters"),
    ],
)
async def test_secrets_that_fail(  # noqa: PLR0917 - fixtures and parameters
    engine: Any, web: WebServer, secrets: Path, expression: str, error: tuple[str, int], detail: str
) -> None:
    (secrets / "api").write_text(SECRET)
    (secrets / "bound").write_text(SECRET)
    (secrets / "bound.hosts").write_text("*.example.com")
    (secrets / "lines").write_text(f"{SECRET}\r\nX-Evil: 1")
    problem = await engine.fault(
        f"""
        use: {{secrets: [api, bound, lines, missing]}}
        do:
          - order:
              call: http
              with:
                method: get
                endpoint: "{web.url}/"
                headers: {{X-Key: "${{ {expression} }}"}}
        """
    )
    kind, status = error
    assert (problem["type"], problem["status"]) == (ERRORS + kind, status)
    assert problem["instance"] == "/do/0/order"
    assert detail in problem["detail"]
    assert not web.seen
    assert SECRET not in await history_text(engine)


async def test_a_redirect_takes_no_secrets_to_another_origin(
    engine: Any, web: WebServer, secrets: Path
) -> None:
    (secrets / "api").write_text(SECRET)
    async with web_server() as other:
        web.answer("/", status_code=307, headers={"location": other.url})
        problem = await engine.fault(
            f"""
            use: {{secrets: [api]}}
            do:
              - order:
                  call: http
                  with:
                    method: post
                    endpoint: "{web.url}/"
                    redirect: true
                    body: "${{ $secrets.api }}"
            """
        )
        assert not other.seen
    assert (problem["type"], problem["status"]) == (f"{ERRORS}authorization", 403)


async def test_arguments_that_are_too_large(engine: Any, web: WebServer) -> None:
    problem = await engine.fault(
        f"do: [{{order: {{call: http, with: {{method: post, endpoint: '{web.url}/', "
        'body: "${ [range(4)] | map($input) }"}}}]',
        "x" * 500_000,
    )
    assert (problem["type"], problem["status"]) == (f"{ERRORS}runtime", 500)
    assert "larger than" in problem["detail"]
    assert not web.seen


async def test_an_output_that_is_too_large(engine: Any, web: WebServer) -> None:
    web.answer("/", b"x" * 1_600_000)
    problem = await engine.fault(
        f"do: [{{get: {{call: http, with: {{method: get, endpoint: '{web.url}/'}}}}}}]"
    )
    assert (problem["type"], problem["status"]) == (f"{ERRORS}communication", 500)
    assert "the output is larger than" in problem["detail"]


# --- Calls that do not end


class Dripping:
    """Sends one byte a second, and notes when it is cut off."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.cut = asyncio.Event()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        self.began.set()
        closed = asyncio.create_task(reader.read())
        while not closed.done():
            writer.write(b"x")
            await asyncio.wait([closed], timeout=1)
        self.cut.set()


async def test_a_timeout_closes_the_socket_of_a_dripping_server(engine: Any) -> None:
    dripping = Dripping()
    async with raw_server(dripping.talk) as url, asyncio.timeout(60):
        problem = await engine.fault(
            f"""
            do:
              - slow:
                  call: http
                  with: {{method: get, endpoint: "{url}"}}
                  timeout: {{after: {{seconds: 3}}}}
            """
        )
        assert (problem["type"], problem["status"]) == (f"{ERRORS}timeout", 408)
        await dripping.cut.wait()


async def test_a_cancel_closes_the_socket(engine: Any) -> None:
    dripping = Dripping()
    async with raw_server(dripping.talk) as url, asyncio.timeout(60):
        handle = await engine.start(
            engine.document(
                f"do: [{{slow: {{call: http, with: {{method: get, endpoint: '{url}'}}}}}}]"
            )
        )
        await dripping.began.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        await dripping.cut.wait()


async def test_another_worker_makes_the_call_of_one_that_stops(
    engine: Any, api: Any, calls: Any, documents: Path, web: WebServer
) -> None:
    answered = asyncio.Event()
    arrived: asyncio.Queue[None] = asyncio.Queue()

    async def wait(_: Request) -> Response:
        arrived.put_nowait(None)
        await answered.wait()
        return JSONResponse("done")

    @asynccontextmanager
    async def worker() -> AsyncIterator[None]:
        activities = DocumentActivities(DocumentDirectory(documents))
        async with new_worker(
            engine.client,
            queue,
            activities,
            calls,
            build_id="test",
            plugins=[StigmaPlugin(api.address)],
            graceful_shutdown_timeout=timedelta(0),
        ):
            yield

    queue = f"engine-{uuid.uuid4()}"
    other = type(engine)(engine.client, queue)
    web.routes["/"] = wait
    async with asyncio.timeout(60):
        async with worker():
            handle = await other.start(
                engine.document(
                    f"do: [{{get: {{call: http, with: {{method: get, endpoint: '{web.url}/'}}}}}}]"
                )
            )
            await arrived.get()
        async with worker():
            await arrived.get()
            answered.set()
            assert await handle.result() == "done"
