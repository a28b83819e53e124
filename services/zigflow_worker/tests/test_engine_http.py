"""`call: http`: what is sent, and what becomes of the response."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from services.zigflow_worker.tests.http_calls import evaluated, make, unauthenticated
from services.zigflow_worker.tests.web_server import WebServer, web_server
from zigflow_worker.activities.http_call import HttpCall
from zigflow_worker.errors import COMMUNICATION, EXPRESSION, ErrorType, WorkflowError
from zigflow_worker.outgoing.client import HttpClient


async def problem_of(client: HttpClient, **arguments: Any) -> dict[str, Any]:
    """The error of a call that must fail."""
    with pytest.raises(WorkflowError) as failure:
        await make(client, **arguments)
    return failure.value.problem


def assert_problem(problem: dict[str, Any], kind: ErrorType, status: int, detail: str) -> None:
    assert (problem["type"], problem["status"]) == (kind.uri, status)
    assert detail in problem["detail"]


# --- The request


@pytest.mark.parametrize("method", ["get", "POST", "put", "Patch", "delete", "options", "head"])
async def test_method(client: HttpClient, web: WebServer, method: str) -> None:
    web.answer("/", "{}", media_type="application/json")
    await make(client, method, endpoint=web.url)
    assert web.seen[0].method == method.upper()


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("a b/ü?#&", "/pet/a%20b%2F%C3%BC%3F%23%26"),
        ("x\r\nHost: evil", "/pet/x%0D%0AHost%3A%20evil"),
        (7, "/pet/7"),
        (True, "/pet/true"),
        (None, "/pet/"),
        (12345678901234567890, "/pet/12345678901234567890"),
    ],
)
async def test_template_values_are_percent_encoded(
    client: HttpClient, web: WebServer, value: Any, path: str
) -> None:
    await problem_of(client, uriTemplate=f"{web.url}/pet/{{id}}", uriValues={"id": value})
    assert web.seen[0].path == path


@pytest.mark.parametrize("value", [[1], {"a": 1}, ".", ".."])
async def test_template_values_that_no_uri_takes(client: HttpClient, value: Any) -> None:
    problem = await problem_of(client, uriTemplate="http://x/{id}", uriValues={"id": value})
    assert_problem(problem, EXPRESSION, 400, "{id}")


async def test_query_is_added_to_the_uris_own(client: HttpClient, web: WebServer) -> None:
    web.answer("/find")
    query = {"b": "x&y=z", "n": 1.5, "yes": True, "many": [1, "two"], "none": None}
    await make(client, endpoint=f"{web.url}/find?a=1#here", query=query)
    assert web.seen[0].query == "a=1&b=x%26y%3Dz&n=1.5&yes=true&many=1&many=two"


async def test_headers_and_json_body(client: HttpClient, web: WebServer) -> None:
    web.answer("/")
    headers = {"X-Number": 3, "X-Text": "ü", "X-None": None}
    await make(client, "post", endpoint=web.url, headers=headers, body={"a": [1, "ü", 10**30]})
    [seen] = web.seen
    assert seen.body.decode() == '{"a":[1,"ü",1000000000000000000000000000000]}'
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["x-number"] == "3"
    assert seen.headers["x-text"].encode("latin-1").decode() == "ü"
    assert "x-none" not in seen.headers


@pytest.mark.parametrize(
    ("headers", "body", "sent"),
    [
        ({"Content-Type": "application/xml"}, "<a/>", b"<a/>"),
        ({"content-type": "application/json"}, '{"a": 1}', b'{"a": 1}'),
        ({}, "text", b'"text"'),
        ({"Content-Type": "application/json; v=2"}, {"a": 1}, b'{"a":1}'),
        ({}, False, b"false"),
        ({}, None, b""),
    ],
)
async def test_a_string_with_its_own_content_type_is_sent_as_it_is(
    client: HttpClient, web: WebServer, headers: dict[str, str], body: Any, sent: bytes
) -> None:
    web.answer("/")
    await make(client, "post", endpoint=web.url, headers=headers, body=body)
    assert web.seen[0].body == sent


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"method": 3}, "method"),
        ({"method": "GET /x"}, "method"),
        ({"endpoint": 7}, "endpoint"),
        ({"endpoint": {"uri": "http://x", "authentication": {}}}, "endpoint"),
        ({"headers": ["a"]}, "headers"),
        ({"headers": {"a": {}}}, "headers.a"),
        ({"query": "a=1"}, "query"),
        ({"query": {"q": [{}]}}, "query.q"),
        ({"redirect": "yes"}, "redirect"),
    ],
)
async def test_arguments_that_expressions_made_wrong(
    client: HttpClient, arguments: dict[str, Any], place: str
) -> None:
    problem = await problem_of(client, **{"endpoint": "http://127.0.0.1:9", **arguments})
    assert_problem(problem, EXPRESSION, 400, f"'{place}'")


async def test_an_expression_makes_the_endpoint(client: HttpClient, web: WebServer) -> None:
    web.answer("/{id}")
    await make(client, endpoint={"uri": f"{web.url}/{{id}}"})
    assert web.seen[0].path == "/%7Bid%7D"


# --- The response


@pytest.mark.parametrize(
    ("content_type", "body", "content"),
    [
        ("application/json", b'{"a": 1}', {"a": 1}),
        ("application/problem+json; charset=utf-8", b"[1]", [1]),
        ("application/json", b'\xef\xbb\xbf"bom"', "bom"),
        ("application/json", b"", None),
        ("text/plain", "gr\u00fc\u00df".encode(), "gr\u00fc\u00df"),
        ("text/plain; charset=iso-8859-1", b"\xfc", "\u00fc"),
        ("text/plain; charset=Windows-1252", b"\x80", "\u20ac"),
        ("text/plain; charset=base64", b"x", "x"),
        ("text/plain; charset=cp999", b"x", "x"),
        ("text/plain; charset=punycode", b"a-b9", "a-b9"),
        ("text/plain; charset=utf-7", b"+2AA-", "+2AA-"),
        ("text/plain; charset=unicode_escape", rb"\ud800", r"\ud800"),
        ("text/csv", b"", ""),
        ("application/octet-stream", b"\x00\x01", "AAE="),
        ("", b"x", "eA=="),
        ("", b"", None),
    ],
)
async def test_content(
    client: HttpClient, web: WebServer, content_type: str, body: bytes, content: Any
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    web.answer("/", body, headers=headers)
    assert await make(client, endpoint=web.url) == content


async def test_numbers_are_exact(client: HttpClient, web: WebServer) -> None:
    text = '{"id": 12345678901234567890123, "price": 0.1, "whole": 1.0}'
    web.answer("/", text, media_type="application/json")
    output = await make(client, endpoint=web.url)
    assert output == {"id": 12345678901234567890123, "price": 0.1, "whole": 1.0}
    assert isinstance(output["whole"], float)


@pytest.mark.parametrize("body", ["{", "1e999", "NaN", '"\\ud800"', "[" * 100_000, "\xff"])
async def test_json_that_is_none(client: HttpClient, web: WebServer, body: str) -> None:
    web.answer("/", body.encode("latin-1"), media_type="application/json")
    problem = await problem_of(client, endpoint=web.url)
    place = f"GET http://127.0.0.1:{web.port}"
    assert_problem(problem, COMMUNICATION, 500, f"{place}: the body is not JSON")


async def test_raw_output(client: HttpClient, web: WebServer) -> None:
    web.answer("/", b"\x00{}", media_type="application/json")
    output = await make(client, endpoint=web.url, output="raw")
    assert base64.b64decode(output) == b"\x00{}"


async def test_response_output_has_no_credentials(client: HttpClient, web: WebServer) -> None:
    async def send(_: Request) -> Response:
        response = Response("{}", media_type="application/json", headers={"X-A": "1"})
        response.set_cookie("session", "cookie-of-the-server")
        return response

    web.routes["/pet"] = send
    headers = {"Authorization": "Bearer t", "Cookie": "c=1", "X-Key": "k-1", "X-Plain": "p"}
    arguments = {"method": "get", "endpoint": f"{web.url}/pet", "output": "response"}
    call = evaluated(
        {**arguments, "headers": headers, "query": {"q": "k-2"}},
        secret_paths=[("headers", "X-Key"), ("query", "q")],
    )
    output: Any = (await HttpCall(client, unauthenticated).call(call)).output
    assert output["request"] == {
        "method": "GET",
        "uri": f"{web.url}/pet",
        "headers": {"x-plain": "p"},
    }
    assert (output["statusCode"], output["content"]) == (200, {})
    assert output["headers"]["x-a"] == "1"
    assert "set-cookie" not in output["headers"]


async def test_response_output_hides_an_endpoint_made_of_secrets(
    client: HttpClient, web: WebServer
) -> None:
    web.answer("/hook/t0ken")
    arguments = {"method": "get", "uriTemplate": f"{web.url}/hook/{{key}}", "output": "response"}
    call = evaluated(
        {**arguments, "uriValues": {"key": "t0ken"}}, secret_paths=[("uriValues", "key")]
    )
    output: Any = (await HttpCall(client, unauthenticated).call(call)).output
    assert output["request"]["uri"] == f"{web.url}/"


async def test_an_output_that_is_none_of_the_three(client: HttpClient, web: WebServer) -> None:
    web.answer("/")
    problem = await problem_of(client, endpoint=web.url, output="xml")
    assert_problem(problem, EXPRESSION, 400, "'output'")


@pytest.mark.parametrize("status", [400, 401, 404, 418, 500, 599, 304])
async def test_error_statuses(client: HttpClient, web: WebServer, status: int) -> None:
    web.answer("/", status_code=status)
    problem = await problem_of(client, endpoint=f"{web.url}/?token=abc")
    assert_problem(problem, COMMUNICATION, status, f"HTTP status {status}")
    assert "abc" not in problem["detail"]


# --- Redirects


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "post", "GET"),
        (302, "post", "GET"),
        (303, "put", "GET"),
        (303, "head", "HEAD"),
        (307, "post", "POST"),
        (308, "put", "PUT"),
        (302, "put", "PUT"),
    ],
)
async def test_redirects_are_followed(
    client: HttpClient, web: WebServer, status: int, method: str, then: str
) -> None:
    web.answer("/old", status_code=status, headers={"location": "new?x=1"})
    web.answer("/new", "{}", media_type="application/json")
    await make(client, method, endpoint=f"{web.url}/old", body={"a": 1}, redirect=True)
    old, new = web.seen
    assert (new.method, new.path, new.query) == (then, "/new", "x=1")
    keeps_body = status != 303 and then == method.upper()
    assert new.body == (old.body if keeps_body else b"")
    assert ("content-type" in new.headers) == keeps_body


async def test_redirects_are_errors_unless_followed(client: HttpClient, web: WebServer) -> None:
    web.answer("/old", status_code=302, headers={"location": "/new"})
    problem = await problem_of(client, endpoint=f"{web.url}/old")
    assert_problem(problem, COMMUNICATION, 302, "HTTP status 302")
    assert len(web.seen) == 1


async def test_a_redirect_to_nowhere_is_a_response(client: HttpClient, web: WebServer) -> None:
    web.answer("/", status_code=304)
    output = await make(client, endpoint=web.url, redirect=True, output="response")
    assert output["statusCode"] == 304


async def test_endless_redirects(client: HttpClient, web: WebServer) -> None:
    web.answer("/", status_code=302, headers={"location": "/"})
    problem = await problem_of(client, endpoint=web.url, redirect=True)
    assert_problem(problem, COMMUNICATION, 500, "more than 10 redirects")
    assert len(web.seen) == 11


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "mailto:a@b", "http://a:b:c/", "http://a:65536/"]
)
async def test_redirects_to_no_web_page(client: HttpClient, web: WebServer, location: str) -> None:
    web.answer("/", status_code=302, headers={"location": location})
    problem = await problem_of(client, endpoint=web.url, redirect=True)
    assert_problem(problem, COMMUNICATION, 500, "a redirect leads to no")


async def test_another_origin_gets_no_credentials(client: HttpClient, web: WebServer) -> None:
    async with web_server() as other:
        other.answer("/")
        web.answer("/", status_code=307, headers={"location": other.url})
        headers = {"Authorization": "Bearer t", "Cookie": "a=b", "X-Plain": "p"}
        await make(client, endpoint=web.url, headers=headers, redirect=True)
    assert web.seen[0].headers["authorization"] == "Bearer t"
    assert not {"authorization", "cookie"} & other.seen[0].headers.keys()
    assert other.seen[0].headers["x-plain"] == "p"


async def test_cookies_are_not_kept(client: HttpClient, web: WebServer) -> None:
    web.answer("/", headers={"set-cookie": "session=1"})
    await make(client, endpoint=web.url)
    await make(client, endpoint=web.url)
    assert "cookie" not in web.seen[1].headers
