"""Requests made of an OpenAPI document: where each argument goes, and how it is written."""

from __future__ import annotations

from typing import Any

import pytest

from zigflow_worker.errors import WorkflowError
from zigflow_worker.outgoing.messages import OutgoingRequest

from .openapi_documents import JSON_BODY, PETSTORE, api, parameter, request_of

COLORS = ["blue", "black", "brown"]
RGB = {"R": 100, "G": 200}


@pytest.mark.parametrize(
    ("style", "explode", "value", "written"),
    [
        ("simple", False, "a b/ü", "a%20b%2F%C3%BC"),
        ("simple", False, COLORS, "blue,black,brown"),
        ("simple", False, RGB, "R,100,G,200"),
        ("simple", True, RGB, "R=100,G=200"),
        ("label", False, "blue", ".blue"),
        ("label", False, COLORS, ".blue,black,brown"),
        ("label", True, COLORS, ".blue.black.brown"),
        ("label", True, RGB, ".R=100.G=200"),
        ("matrix", False, "", ";color"),
        ("matrix", False, "blue", ";color=blue"),
        ("matrix", False, COLORS, ";color=blue,black,brown"),
        ("matrix", True, COLORS, ";color=blue;color=black;color=brown"),
        ("matrix", False, RGB, ";color=R,100,G,200"),
        ("matrix", True, RGB, ";R=100;G=200"),
    ],
)
def test_a_path_is_written_in_every_style(
    style: str, explode: bool, value: Any, written: str
) -> None:
    operation = {"parameters": [parameter("color", "path", {}, style=style, explode=explode)]}
    request = request_of(api(operation, path="/things/{color}"), {"color": value})
    assert request.url == f"https://api.example.com/v1/things/{written}"


@pytest.mark.parametrize(
    ("fields", "value", "written"),
    [
        ({}, True, "?color=true"),
        ({}, 1.0, "?color=1"),
        ({}, "a&b=c+d #", "?color=a%26b%3Dc%2Bd%20%23"),
        ({}, COLORS, "?color=blue&color=black&color=brown"),
        ({}, RGB, "?R=100&G=200"),
        ({}, [], ""),
        ({"explode": False}, COLORS, "?color=blue,black,brown"),
        ({"explode": False}, RGB, "?color=R,100,G,200"),
        ({"style": "spaceDelimited", "explode": False}, COLORS, "?color=blue%20black%20brown"),
        ({"style": "pipeDelimited", "explode": False}, COLORS, "?color=blue%7Cblack%7Cbrown"),
        ({"style": "deepObject", "explode": True}, RGB, "?color%5BR%5D=100&color%5BG%5D=200"),
        (
            {"style": "deepObject"},
            {"a": {"b": [1, 2]}},
            "?color%5Ba%5D%5Bb%5D=1&color%5Ba%5D%5Bb%5D=2",
        ),
        ({"allowReserved": True}, "a/b?c&d", "?color=a/b?c%26d"),
    ],
)
def test_a_query_is_written_in_every_style(
    fields: dict[str, Any], value: Any, written: str
) -> None:
    operation = {"parameters": [parameter("color", "query", {}, **fields)]}
    request = request_of(api(operation), {"color": value})
    assert request.url == f"https://api.example.com/v1/things{written}"


@pytest.mark.parametrize(
    ("collection_format", "written"),
    [
        (None, "a,b"),
        ("csv", "a,b"),
        ("ssv", "a%20b"),
        ("tsv", "a%09b"),
        ("pipes", "a%7Cb"),
        ("multi", "a&color=b"),
    ],
)
def test_a_query_is_written_in_every_collection_format(
    collection_format: str | None, written: str
) -> None:
    color = {"name": "color", "in": "query", "type": "array", "items": {"type": "string"}}
    if collection_format:
        color["collectionFormat"] = collection_format
    operation = {"operationId": "do", "parameters": [color], "responses": {}}
    document = {
        "swagger": "2.0",
        "host": "h",
        "schemes": ["https"],
        "paths": {"/": {"get": operation}},
    }
    assert request_of(document, {"color": ["a", "b"]}).url == f"https://h/?color={written}"


def test_headers_cookies_and_values_with_a_media_type_are_written() -> None:
    operation = {
        "parameters": [
            parameter("X-Colors", "header", {"type": "array"}),
            parameter("X-RGB", "header", {"type": "object"}, explode=True),
            parameter("Authorization", "header", {"type": "string"}),
            parameter("session", "cookie", {"type": "string"}),
            parameter("theme", "cookie", {"type": "string"}),
            parameter("filter", "query", content=JSON_BODY),
        ]
    }
    arguments = {
        "X-Colors": COLORS,
        "X-RGB": RGB,
        "session": "s 1",
        "theme": "dark",
        "filter": {"a": [1]},
    }
    request = request_of(api(operation), arguments)
    assert dict(request.headers) == {
        "X-Colors": "blue,black,brown",
        "X-RGB": "R=100,G=200",
        "Cookie": "session=s%201; theme=dark",
    }
    assert request.url.endswith("?filter=%7B%22a%22%3A%5B1%5D%7D")


def body_of(content: Any, arguments: dict[str, Any], **fields: Any) -> OutgoingRequest:
    return request_of(api({"requestBody": {"content": content, **fields}}), arguments)


def test_arguments_that_are_no_parameters_are_the_body() -> None:
    operation = {
        "parameters": [parameter("dry", "query", {"type": "boolean"})],
        "requestBody": {"content": JSON_BODY},
    }
    request = request_of(api(operation), {"dry": True, "name": "ü", "none": None})
    assert (request.method, request.url) == ("POST", "https://api.example.com/v1/things?dry=true")
    assert request.body == '{"name":"ü","none":null}'.encode()
    assert ("Content-Type", "application/json") in request.headers


def test_an_argument_body_alone_is_the_whole_body() -> None:
    content = {"application/json": {"schema": {"type": "array"}}}
    assert body_of(content, {"body": [1, 2]}).body == b"[1,2]"


def test_a_property_body_is_one_where_nothing_else_matches() -> None:
    schema = {"type": "object", "properties": {"body": {"type": "string"}}, "required": ["body"]}
    content = {"application/json": {"schema": schema}}
    assert body_of(content, {"body": "hello"}).body == b'{"body":"hello"}'
    assert body_of(content, {"body": {"body": "hello"}}).body == b'{"body":"hello"}'


def test_a_body_may_be_a_form() -> None:
    schema = {
        "type": "object",
        "properties": {"tags": {"type": "array"}, "address": {"type": "object"}},
    }
    content = {
        "application/x-www-form-urlencoded": {
            "schema": schema,
            "encoding": {"tags": {"style": "pipeDelimited", "explode": False}},
        }
    }
    arguments = {"tags": ["a", "b"], "address": {"city": "X"}, "more": "a b", "none": None}
    request = body_of(content, arguments)
    assert request.body == b"tags=a%7Cb&address=%7B%22city%22%3A%22X%22%7D&more=a%20b"
    assert ("Content-Type", "application/x-www-form-urlencoded") in request.headers


def test_a_body_may_have_parts() -> None:
    schema = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
    content = {
        "multipart/form-data": {
            "schema": schema,
            "encoding": {"file": {"contentType": "image/svg+xml, image/png"}},
        }
    }
    request = body_of(content, {"file": "<svg/>", 'na"me\r\n': {"a": 1}})
    (content_type,) = (value for name, value in request.headers if name == "Content-Type")
    boundary = content_type.removeprefix("multipart/form-data; boundary=")
    assert request.body is not None
    assert request.body.decode().split(f"--{boundary}") == [
        "",
        '\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n'
        "Content-Type: image/svg+xml\r\n\r\n<svg/>\r\n",
        '\r\nContent-Disposition: form-data; name="na%22me%0D%0A"\r\n'
        'Content-Type: application/json\r\n\r\n{"a":1}\r\n',
        "--\r\n",
    ]


def test_a_body_of_another_type_is_text() -> None:
    content = {"text/csv": {"schema": {"type": "string"}}}
    assert body_of(content, {"body": "a,b"}).body == b"a,b"
    with pytest.raises(WorkflowError, match="a body of type text/csv has to be a string"):
        body_of({"text/csv": {}}, {"body": 5})


def test_a_body_that_is_not_required_may_be_absent() -> None:
    request = body_of(JSON_BODY, {})
    assert request.body is None
    assert request.headers == []


def test_the_petstore_is_called() -> None:
    found = request_of(PETSTORE, {"status": "available"}, "findPetsByStatus")
    assert found.method == "GET"
    assert found.url == "https://petstore.swagger.io/v2/pet/findByStatus?status=available"
    assert dict(found.headers) == {"Accept": "application/json, application/xml"}
    assert request_of(PETSTORE, {"petId": 1}, "getPetById").url.endswith("/v2/pet/1")
    pet = {"name": "Milou", "photoUrls": []}
    for arguments in (pet, {"pet": pet}):
        added = request_of(PETSTORE, arguments, "addPet")
        assert added.body == b'{"name":"Milou","photoUrls":[]}'
    form = request_of(PETSTORE, {"petId": 1, "status": "sold"}, "updatePetWithForm")
    assert form.body == b"status=sold"
    upload = request_of(PETSTORE, {"petId": 1, "file": "data"}, "uploadFile")
    assert upload.body is not None
    assert b'name="file"' in upload.body


@pytest.mark.parametrize(
    ("fields", "uri", "url"),
    [
        ({}, "https://docs.example.com/apis/openapi.json", "https://api.example.com/v1/things"),
        ({"servers": []}, "http://h:81/apis/openapi.json", "http://h:81/things"),
        ({"servers": [{"url": "v2/"}]}, "http://h/apis/openapi.json", "http://h/apis/v2/things"),
        ({"servers": [{"url": "/v2"}]}, "http://h/apis/openapi.json", "http://h/v2/things"),
        (
            {
                "servers": [
                    {
                        "url": "https://{region}.example.com:{port}/",
                        "variables": {"region": {"default": "eu"}, "port": {"default": "8443"}},
                    }
                ]
            },
            "openapi.json",
            "https://eu.example.com:8443/things",
        ),
    ],
)
def test_servers_are_relative_to_the_document(fields: dict[str, Any], uri: str, url: str) -> None:
    assert request_of(api({}, **fields), uri=uri).url == url


def test_an_operation_s_server_comes_before_its_path_s_and_its_api_s() -> None:
    document = api({})
    item = document["paths"]["/things"]
    item["servers"] = [{"url": "https://path.example.com"}]
    assert request_of(document).url == "https://path.example.com/things"
    item["post"]["servers"] = [{"url": "https://operation.example.com"}]
    assert request_of(document).url == "https://operation.example.com/things"


@pytest.mark.parametrize(
    ("schemes", "uri", "url"),
    [
        (["http", "https"], "http://docs/swagger.json", "http://docs/v2/pet/1"),
        (["wss", "http"], "https://docs/swagger.json", "wss"),
        (["http"], "https://docs/swagger.json", "http://docs/v2/pet/1"),
        ([], "https://docs/swagger.json", "https://docs/v2/pet/1"),
    ],
)
def test_a_swagger_document_s_server_is_its_own(schemes: list[str], uri: str, url: str) -> None:
    document = {key: value for key, value in PETSTORE.items() if key != "host"}
    document["schemes"] = schemes
    if url == "wss":
        with pytest.raises(WorkflowError, match="it names no server"):
            request_of(document, {"petId": 1}, "getPetById", uri)
    else:
        assert request_of(document, {"petId": 1}, "getPetById", uri).url == url
