"""OpenAPI documents for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from zigflow_worker.openapi import ApiDocuments, build_request
from zigflow_worker.outgoing.messages import OutgoingRequest

JSON_BODY = {"application/json": {"schema": {"type": "object"}}}

PETSTORE = {
    "swagger": "2.0",
    "info": {"title": "Petstore", "version": "1.0.7"},
    "host": "petstore.swagger.io",
    "basePath": "/v2",
    "schemes": ["https", "http"],
    "paths": {
        "/pet": {
            "post": {
                "operationId": "addPet",
                "consumes": ["application/json", "application/xml"],
                "parameters": [
                    {
                        "in": "body",
                        "name": "pet",
                        "required": True,
                        "schema": {"$ref": "#/definitions/Pet"},
                    }
                ],
                "responses": {"405": {"description": "Invalid input"}},
            }
        },
        "/pet/findByStatus": {
            "get": {
                "operationId": "findPetsByStatus",
                "produces": ["application/json", "application/xml"],
                "parameters": [
                    {
                        "name": "status",
                        "in": "query",
                        "required": True,
                        "type": "array",
                        "items": {"type": "string", "enum": ["available", "pending", "sold"]},
                        "collectionFormat": "multi",
                    }
                ],
                "responses": {"200": {"description": "ok"}},
            }
        },
        "/pet/{petId}": {
            "get": {
                "operationId": "getPetById",
                "parameters": [
                    {
                        "name": "petId",
                        "in": "path",
                        "required": True,
                        "type": "integer",
                        "format": "int64",
                    }
                ],
                "responses": {"200": {"description": "ok"}},
                "security": [{"api_key": []}],
            },
            "post": {
                "operationId": "updatePetWithForm",
                "consumes": ["application/x-www-form-urlencoded"],
                "parameters": [
                    {"name": "petId", "in": "path", "required": True, "type": "integer"},
                    {"name": "name", "in": "formData", "type": "string"},
                    {"name": "status", "in": "formData", "required": True, "type": "string"},
                ],
                "responses": {"405": {"description": "Invalid input"}},
            },
        },
        "/pet/{petId}/uploadImage": {
            "post": {
                "operationId": "uploadFile",
                "consumes": ["multipart/form-data"],
                "parameters": [
                    {"name": "petId", "in": "path", "required": True, "type": "integer"},
                    {"name": "additionalMetadata", "in": "formData", "type": "string"},
                    {"name": "file", "in": "formData", "type": "file"},
                ],
                "responses": {"200": {"description": "ok"}},
            }
        },
    },
    "securityDefinitions": {"api_key": {"type": "apiKey", "name": "api_key", "in": "header"}},
    "definitions": {
        "Pet": {
            "type": "object",
            "required": ["name", "photoUrls"],
            "properties": {
                "id": {"type": "integer"},
                "name": {"type": "string"},
                "photoUrls": {"type": "array", "items": {"type": "string"}},
                "tags": {"type": "array", "items": {"$ref": "#/definitions/Tag"}},
            },
        },
        "Tag": {"type": "object", "properties": {"parent": {"$ref": "#/definitions/Tag"}}},
    },
}


def api(operation: Mapping[str, Any], *, path: str = "/things", **fields: Any) -> dict[str, Any]:
    """An API of OpenAPI 3.0 with one operation, `POST` and `do`."""
    return {
        "openapi": "3.0.3",
        "info": {"title": "Things", "version": "1"},
        "servers": [{"url": "https://api.example.com/v1"}],
        "paths": {path: {"post": {"operationId": "do", "responses": {}, **operation}}},
        **fields,
    }


def parameter(name: str, place: str, schema: Any = None, **fields: Any) -> dict[str, Any]:
    """A parameter of OpenAPI 3."""
    described = {} if schema is None else {"schema": schema}
    required = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, **required, **described, **fields}


def request_of(
    document: Any,
    arguments: Mapping[str, Any] | None = None,
    operation: str = "do",
    uri: str = "https://docs.example.com/apis/openapi.json",
    others: Mapping[str, Any] | None = None,
) -> OutgoingRequest:
    """The request of an operation of a document, given as data or text."""
    documents = ApiDocuments(uri, document if isinstance(document, str) else json.dumps(document))
    for name, text in (others or {}).items():
        documents.add(name, text if isinstance(text, str) else json.dumps(text))
    return build_request(documents, operation, arguments or {})
