"""Documents that calls need: from files below one directory, and by HTTP, kept for a while."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from services.zigflow_worker.tests.web_server import WebServer
from zigflow_worker.errors import (
    AUTHORIZATION,
    COMMUNICATION,
    CONFIGURATION,
    ErrorType,
    WorkflowError,
)
from zigflow_worker.outgoing import resources as module
from zigflow_worker.outgoing.client import HttpClient
from zigflow_worker.outgoing.resources import MAX_FILE_BYTES, Resource, Resources


class Clock:
    """Seconds that pass when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def assert_refused(resources: Resources, uri: str, kind: ErrorType, detail: str) -> None:
    with pytest.raises(WorkflowError) as failure:
        await resources.fetch(uri)
    problem = failure.value.problem
    assert problem["type"] == kind.uri
    assert detail in str(problem["detail"])


# --- Files


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    root = tmp_path / "resources"
    (root / "app" / "more").mkdir(parents=True)
    (root / "app" / "greet.proto").write_bytes(b"greet")
    (root / "app" / "more" / "a b.proto").write_bytes(b"more")
    (tmp_path / "outside").write_text("outside")
    (root / "link").symlink_to("../outside")
    (root / "inner").symlink_to("app/greet.proto")
    return root


@pytest.mark.parametrize(
    ("uri", "base", "content"),
    [
        ("app/greet.proto", None, b"greet"),
        ("./app/greet.proto", None, b"greet"),
        ("file:///app/greet.proto", None, b"greet"),
        ("file://app/greet.proto", None, b"greet"),
        ("inner", None, b"greet"),
        ("app/more/a%20b.proto", None, b"more"),
        ("more/a%20b.proto", "file:///app/greet.proto", b"more"),
        ("../greet.proto", "file:///app/more/a.proto", b"greet"),
    ],
)
async def test_files(
    client: HttpClient, directory: Path, uri: str, base: str | None, content: bytes
) -> None:
    assert (await Resources(client, directory).fetch(uri, base)).content == content


async def test_a_file_is_a_base_for_others(client: HttpClient, directory: Path) -> None:
    resources = Resources(client, directory)
    first = await resources.fetch("file://app/greet.proto")
    assert first.uri == "file:///app/greet.proto"
    assert (await resources.fetch("more/a%20b.proto", first.uri)).content == b"more"


@pytest.mark.parametrize(
    ("uri", "kind", "detail"),
    [
        ("file:///etc/passwd", CONFIGURATION, "no file 'etc/passwd'"),
        ("/etc/passwd", CONFIGURATION, "no file"),
        ("../outside", AUTHORIZATION, "not below"),
        ("app/../../outside", AUTHORIZATION, "not below"),
        ("app/%2e%2e/%2e%2e/outside", AUTHORIZATION, "not below"),
        ("app%2f..%2f..%2foutside", AUTHORIZATION, "not below"),
        ("a%00b", AUTHORIZATION, "not below"),
        ("link", AUTHORIZATION, "not below"),
        ("app", CONFIGURATION, "not a file"),
        ("ftp://x/y", CONFIGURATION, "not by 'ftp'"),
        ("http://[", CONFIGURATION, "not a URI"),
        ("missing", CONFIGURATION, "no file"),
    ],
)
async def test_files_out_of_reach(
    client: HttpClient, directory: Path, uri: str, kind: ErrorType, detail: str
) -> None:
    await assert_refused(Resources(client, directory), uri, kind, detail)


async def test_no_directory(client: HttpClient) -> None:
    await assert_refused(Resources(client, None), "x", CONFIGURATION, "STIGMA_RESOURCES_DIR")


async def test_a_file_of_10_mb(client: HttpClient, directory: Path) -> None:
    (directory / "large").write_bytes(bytes(10_000_000))
    detail = f"larger than {MAX_FILE_BYTES} bytes"
    await assert_refused(Resources(client, directory), "large", COMMUNICATION, detail)


# --- HTTP


async def test_a_document_is_kept_for_five_minutes(client: HttpClient, web: WebServer) -> None:
    clock = Clock()
    resources = Resources(client, None, clock=clock)
    web.answer("/api", "one")
    assert await resources.fetch(f"{web.url}/api") == Resource(f"{web.url}/api", b"one")
    web.answer("/api", "two")
    clock.now = 299
    assert (await resources.fetch(f"{web.url}/api")).content == b"one"
    clock.now = 301
    assert (await resources.fetch(f"{web.url}/api")).content == b"two"
    assert len(web.seen) == 2


async def test_those_who_wait_for_a_document_share_its_request(
    client: HttpClient, web: WebServer
) -> None:
    resources = Resources(client, None)
    web.answer("/api", "one")
    uri = f"{web.url}/api"
    found = await asyncio.gather(*(resources.fetch(uri) for _ in range(5)))
    assert [each.content for each in found] == [b"one"] * 5
    assert len(web.seen) == 1


async def test_an_etag_that_holds_keeps_it_longer(client: HttpClient, web: WebServer) -> None:
    async def send(request: Request) -> Response:
        known = request.headers.get("if-none-match") == '"v1"'
        return Response(status_code=304) if known else Response("one", headers={"etag": '"v1"'})

    web.routes["/api"] = send
    clock = Clock()
    resources = Resources(client, None, clock=clock)
    for clock.now in (0, 400, 500, 800):
        assert (await resources.fetch(f"{web.url}/api")).content == b"one"
    assert [seen.headers.get("if-none-match") for seen in web.seen] == [None, '"v1"', '"v1"']


@pytest.mark.parametrize("size", [100, 0])
async def test_the_cache_is_bounded(
    client: HttpClient, web: WebServer, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Of empty documents, too: there may be any number of URIs."""
    monkeypatch.setattr(module, "_MAX_CACHED_BYTES", 3000)
    resources = Resources(client, None)
    for name in "abc":
        web.answer(f"/{name}", name * size)
    for name in "abac":  # c takes the place of b, which was used before a
        await resources.fetch(f"{web.url}/{name}")
    web.seen.clear()
    for name in "acb":
        await resources.fetch(f"{web.url}/{name}")
    assert [seen.path for seen in web.seen] == ["/b"]


async def test_redirects_lead_to_the_base_of_references(client: HttpClient, web: WebServer) -> None:
    web.answer("/api", status_code=302, headers={"location": "/v2/api.json"})
    web.answer("/v2/api.json", "{}")
    web.answer("/v2/pets.json", "[]")
    resources = Resources(client, None)
    api = await resources.fetch(f"{web.url}/api")
    assert api.uri == f"{web.url}/v2/api.json"
    assert (await resources.fetch("pets.json", api.uri)).content == b"[]"


async def test_statuses_are_errors(client: HttpClient, web: WebServer) -> None:
    with pytest.raises(WorkflowError, match="HTTP status 404") as failure:
        await Resources(client, None).fetch(f"{web.url}/missing")
    assert failure.value.problem["status"] == 404


async def test_metadata_is_refused(client: HttpClient) -> None:
    uri = "http://169.254.169.254/latest/"
    await assert_refused(Resources(client, None), uri, AUTHORIZATION, "policy")
