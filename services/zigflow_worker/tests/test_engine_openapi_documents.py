"""OpenAPI documents: their references and dialects, and what is wrong with them or arguments."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from zigflow_worker.errors import CONFIGURATION, VALIDATION, WorkflowError
from zigflow_worker.openapi import ApiDocuments, MissingDocumentError, build_request
from zigflow_worker.openapi.parsed_texts import ParsedTexts

from .openapi_documents import JSON_BODY, PETSTORE, api, parameter, request_of

YAML = """\
openapi: 3.1.0
info: {title: Things, version: 2026-11-29}
servers: [{url: 'https://api.example.com'}]
paths:
  /things:
    get:
      operationId: list
      parameters: [{$ref: 'common.yaml#/parameters/page~1size'}]
      responses:
        200:
          description: ok
          content: {application/json: {}, text/plain: {}}
"""
COMMON = """\
parameters:
  page/size: {name: size, in: query, schema: {$ref: 'schemas/size.json'}}
"""
SIZE = '{"type": ["integer", "null"], "maximum": 10}'


def fault(
    document: Any, arguments: Any = None, operation: str = "do", **more: Any
) -> WorkflowError:
    with pytest.raises(WorkflowError) as raised:
        request_of(document, arguments, operation, **more)
    return raised.value


def test_yaml_with_references_to_other_documents_is_read_one_after_the_other() -> None:
    documents = ApiDocuments("https://h/apis/api.yaml", YAML)
    there = {"https://h/apis/common.yaml": COMMON, "https://h/apis/schemas/size.json": SIZE}
    missing = []
    for _ in there:
        with pytest.raises(MissingDocumentError) as raised:
            build_request(documents, "list", {"size": 5})
        missing.append(raised.value.uri)
        documents.add(missing[-1], there[missing[-1]])
    assert missing == list(there)
    request = build_request(documents, "list", {"size": 5})
    assert request.url == "https://api.example.com/things?size=5"
    assert dict(request.headers) == {"Accept": "application/json, text/plain"}


@pytest.mark.parametrize(
    "reference",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://docs.example.com/other.json",
        "//evil.example.com/x",
        "file:///etc/passwd",
    ],
)
def test_a_reference_to_the_network_is_refused(reference: str) -> None:
    error = fault(api({"parameters": [{"$ref": reference}]}))
    assert error.type == CONFIGURATION.uri
    assert f"the reference '{reference}' is refused" in str(error)


def test_a_schema_s_reference_to_the_network_is_refused() -> None:
    schema = {"type": "array", "items": {"$ref": "http://127.0.0.1/secret.json"}}
    error = fault(api({"parameters": [parameter("a", "query", schema)]}), {"a": [1]})
    assert "the reference 'http://127.0.0.1/secret.json' is refused" in str(error)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "it cannot be read"),
        ("[1, 2", "it cannot be read"),
        ("[1, 2]", "expected a map"),
        ({"openapi": "3.2.0"}, "none of the versions supported"),
        ({"swagger": 2.0}, "none of the versions supported"),
        ({"openapi": "3.0.3"}, "it has no operation 'do'"),
        (api({"operationId": "other"}), "it has no operation 'do'"),
        (api({"parameters": [{"$ref": "#/nowhere"}]}), "leads nowhere"),
        (api({"parameters": [{"$ref": "#nowhere"}]}), "is no JSON pointer"),
        (api({"parameters": [{"$ref": "#/paths/~1things/post/parameters/0"}]}), "lead on and on"),
        (api({"parameters": [{"$ref": "http://[x"}]}), "is no URI"),
        (api({"parameters": {}}), "#/paths/~1things/post/parameters: expected a list"),
        (api({"parameters": [{"name": "a", "in": "body"}]}), "expected a parameter"),
        (api({}, path="/things/{id}"), "names 'id', which is no parameter of its path"),
        (api({}, servers=[{"url": "https://{x}"}]), "the server's variable 'x' has no default"),
        (api({}, servers=[{"url": "ftp://h"}]), "it names no server"),
        (api({}, servers=[{"url": "http://[h"}]), "it names no server"),
        (api({"parameters": [{"$ref": f"#/servers/{'9' * 5000}"}]}, servers=[{}]), "leads nowhere"),
        (
            api({"parameters": [parameter("a", "query", {"type": "text"})]}),
            "not a valid schema",
        ),
        (
            '{"openapi": "3.0.3", "paths": ' + "[" * 150 + "]" * 150 + "}",
            "nested more than 100 deep",
        ),
        ("[" * 100_000, "it cannot be read"),
    ],
)
def test_a_document_that_is_wrong_is_a_configuration_error(document: Any, message: str) -> None:
    error = fault(document)
    assert (error.type, error.problem["status"]) == (CONFIGURATION.uri, 400)
    assert message in str(error)


def test_an_unknown_argument_is_a_configuration_error() -> None:
    error = fault(api({}), {"color": "red"})
    assert error.type == CONFIGURATION.uri
    assert "no parameter 'color', and no body" in str(error)


@pytest.mark.parametrize(
    ("document", "arguments", "operation", "message"),
    [
        (
            PETSTORE,
            {"petId": "one"},
            "getPetById",
            "'petId' does not match its schema: \"one\" is ",
        ),
        (PETSTORE, {}, "getPetById", "the parameter 'petId' is required"),
        (PETSTORE, {"petId": None}, "getPetById", "the parameter 'petId' is required"),
        (PETSTORE, {"status": "lost"}, "findPetsByStatus", "'status' does not match its schema"),
        (PETSTORE, {"name": "Milou"}, "addPet", "'pet' does not match its schema"),
        (PETSTORE, {}, "addPet", "the body of POST /pet is required"),
        (PETSTORE, {"petId": 1}, "updatePetWithForm", "the parameter 'status' is required"),
        (
            api({"requestBody": {"content": JSON_BODY}}),
            {"body": [1]},
            "do",
            "'body' does not match",
        ),
        (
            api({"parameters": [parameter("X-A", "header", {})]}),
            {"X-A": "a\r\nX-Evil: b"},
            "do",
            "'X-A' has a control character",
        ),
        (
            api({"parameters": [parameter("id", "path", {})]}, path="/a/{id}/b"),
            {"id": ".."},
            "do",
            "may not be '.' or '..'",
        ),
        (
            api({"parameters": [parameter("a", "query")]}),
            {"a": "\ud800"},
            "do",
            "half of a surrogate pair",
        ),
        (
            api({"requestBody": {"content": {"multipart/form-data": {}}}}),
            {"body": 5},
            "do",
            "has to be a map",
        ),
    ],
)
def test_arguments_that_do_not_match_are_a_validation_error(
    document: Any, arguments: Any, operation: str, message: str
) -> None:
    error = fault(document, arguments, operation)
    assert (error.type, error.problem["status"]) == (VALIDATION.uri, 400)
    assert message in str(error)


@pytest.mark.parametrize(
    ("schema", "value", "matches"),
    [
        ({"type": "string", "nullable": True}, None, True),
        ({"type": "string"}, None, False),
        ({"type": "number", "minimum": 1, "exclusiveMinimum": True}, 1, False),
        ({"type": "number", "minimum": 1, "exclusiveMinimum": False}, 1, True),
        ({"type": "number", "exclusiveMaximum": 1}, 1, False),
        ({"allOf": [{"$ref": "#/components/schemas/Node"}]}, {"next": {"next": 5}}, False),
        ({"$ref": "#/components/schemas/Node"}, {"next": {"next": {}}}, True),
        ({"not": {"type": "string"}}, "a", False),
        ({"additionalProperties": False}, {"a": 1}, False),
        (
            {
                "required": ["id", "name"],
                "properties": {"id": {"readOnly": True}, "name": {"type": "string"}},
            },
            {"name": "a"},
            True,
        ),
        ({"format": "uuid", "example": {"$ref": "http://x"}, "default": 5}, "a", True),
    ],
)
def test_schemas_of_every_version_check_values(schema: Any, value: Any, matches: bool) -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}}
    operation = {
        "requestBody": {"content": {"application/json": {"schema": {"properties": {"v": schema}}}}}
    }
    document = api(operation, components={"schemas": {"Node": node}})
    if matches:
        assert (
            request_of(document, {"v": value}).body
            == json.dumps({"v": value}, separators=(",", ":")).encode()
        )
    else:
        assert fault(document, {"v": value}).type == VALIDATION.uri


def test_a_reference_of_openapi_3_1_may_have_siblings() -> None:
    schema = {"$ref": "#/components/schemas/Text", "maxLength": 2}
    document = api(
        {"parameters": [parameter("a", "query", schema)]},
        openapi="3.1.0",
        components={"schemas": {"Text": {"type": "string"}}},
    )
    assert request_of(document, {"a": "ab"}).url.endswith("?a=ab")
    assert fault(document, {"a": "abc"}).type == VALIDATION.uri
    assert fault(document, {"a": 1}).type == VALIDATION.uri


def test_yaml_bombs_are_refused_in_little_time() -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
    bomb = "\n".join(["openapi: 3.0.3", "l0: &l0 [a]", *levels])
    began = time.process_time()
    error = fault(bomb)
    assert error.type == CONFIGURATION.uri
    assert "has more than 500000 values" in str(error)
    assert time.process_time() - began < 5


def test_a_schema_that_grows_without_end_is_refused() -> None:
    schemas = {f"s{n}": {"items": {"$ref": f"#/components/schemas/s{n + 1}"}} for n in range(6000)}
    schemas["s6000"] = {}
    operation = {"parameters": [parameter("a", "query", {"$ref": "#/components/schemas/s0"})]}
    error = fault(api(operation, components={"schemas": schemas}), {"a": []})
    assert error.type == CONFIGURATION.uri
    assert "a schema has more than 5000 schemas in it" in str(error)


def test_an_api_has_a_limit_of_characters() -> None:
    documents = ApiDocuments("https://h/api.json", json.dumps(api({})))
    large = json.dumps("x" * 900_000)
    for number in range(4):
        documents.add(f"https://h/{number}.json", large)
    with pytest.raises(WorkflowError, match="more than 4194304 characters"):
        documents.add("https://h/4.json", large)


def test_an_api_has_a_limit_of_documents() -> None:
    documents = ApiDocuments("https://h/api.json", json.dumps(api({})))
    for number in range(49):
        documents.add(f"https://h/{number}.json", "{}")
    with pytest.raises(WorkflowError, match="it refers to more than 50 documents"):
        documents.add("https://h/50.json", "{}")


def test_documents_are_kept_as_data_within_bounds() -> None:
    kept = ParsedTexts(1000)
    first = kept.parse('{"a": 1}')
    assert kept.parse('{"a": 1}') is first
    for number in range(3):
        kept.parse(f"[{number}]")
    assert kept.parse('{"a": 1}') is not first
    assert kept.parse(json.dumps("x" * 2000)) == "x" * 2000
