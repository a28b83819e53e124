"""The body of an operation's request."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from stigma.contracts import json_text
from zigflow_worker.expressions import JSON
from zigflow_worker.openapi.documents import Part, misconfigured
from zigflow_worker.openapi.operations import Operation
from zigflow_worker.openapi.parameters import Parameter, check_given
from zigflow_worker.openapi.schemas import ValueSchema, invalid
from zigflow_worker.openapi.styles import Style, plain, query_pairs

FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"


@dataclass(frozen=True, slots=True)
class Body:
    """A body as an operation declares it.

    `name` is the argument that is the whole body, and `fields` are those of a form by name.
    """

    media_type: str
    required: bool
    name: str
    schema: ValueSchema | None
    fields: Mapping[str, Parameter]

    @property
    def is_required(self) -> bool:
        """Whether a request without it, or without one of its fields, is wrong."""
        return self.required or any(field.required for field in self.fields.values())

    def value_of(self, arguments: Mapping[str, JSON]) -> JSON:
        """Return the body that arguments make: their properties, or the one that is all of it.

        Raises:
            WorkflowError: of type `validation`, where it does not match its schema.
        """
        whole = arguments.get(self.name)
        value: JSON = dict(arguments)
        if set(arguments) == {self.name} and not self._is_only_a_property(whole, value):
            value = whole
        if self.schema is not None:
            self.schema.check(value, self.name)
        return value

    def _is_only_a_property(self, whole: JSON, value: JSON) -> bool:
        schema = self.schema
        if schema is None or self.name not in schema.properties:
            return False
        return schema.violation(whole) is not None and schema.violation(value) is None


def read_body(operation: Operation, parameters: list[Parameter]) -> Body | None:
    """Return the body that an operation takes, None for none (raises WorkflowError)."""
    if operation.swagger:
        return _read_swagger(operation, parameters)
    part = operation.part.get("requestBody")
    content = None if part is None else part.get("content")
    if part is None or content is None:
        return None
    media_type = _preferred(list(content.fields()))
    described = content.get(media_type)
    schema = None if described is None else described.child("schema")
    read = None if schema is None else ValueSchema(schema)
    fields = {}
    if read is not None and media_type in (FORM, MULTIPART):
        encoding = described.get("encoding") if described is not None else None
        fields = {name: _field(name, encoding) for name in read.properties}
    required = part.flag("required")
    return Body(_concrete(media_type), required, "body", read, fields)


def _field(name: str, encoding: Part | None) -> Parameter:
    own = None if encoding is None else encoding.get(name)
    if own is None:
        return Parameter(name, "formData", False, Style("form", explode=True), None)
    style = Style(
        own.text("style", "form"),
        explode=own.flag("explode", default=own.text("style", "form") == "form"),
        allow_reserved=own.flag("allowReserved"),
    )
    return Parameter(name, "formData", False, style, None, own.text("contentType"))


def _read_swagger(operation: Operation, parameters: list[Parameter]) -> Body | None:
    consumes = operation.part.get("consumes") or operation.part.documents.root.get("consumes")
    types = [str(each.value) for each in consumes.items()] if consumes is not None else []
    for parameter in parameters:
        if parameter.place == "body":
            media_type = _preferred(types or ["application/json"])
            return Body(media_type, parameter.required, parameter.name, parameter.schema, {})
    fields = {each.name: each for each in parameters if each.place == "formData"}
    if not fields:
        return None
    media_type = MULTIPART if MULTIPART in types and FORM not in types else FORM
    return Body(media_type, False, "body", None, fields)


def encode(body: Body, value: JSON) -> tuple[str, bytes]:
    """Return content type and bytes of a body (raises WorkflowError)."""
    media_type = body.media_type
    if _is_json(media_type):
        return media_type, json_text.compact(value).encode()
    if media_type == FORM:
        pairs = [
            pair for field, each in _form_items(body, value) for pair in _form_pairs(field, each)
        ]
        return media_type, "&".join(pairs).encode()
    if media_type == MULTIPART:
        return _multipart(body, value)
    if not isinstance(value, str):
        raise invalid(f"a body of type {media_type} has to be a string")
    return media_type, value.encode()


def _form_items(body: Body, value: JSON) -> Iterator[tuple[Parameter, JSON]]:
    if not isinstance(value, dict):
        raise invalid(f"a body of type {body.media_type} has to be a map")
    for field in body.fields.values():
        if value.get(field.name) is None:
            check_given(field)
    for name, each in value.items():
        field = body.fields.get(name) or _field(name, None)
        if each is not None:
            yield field, field.checked(each)


def _form_pairs(field: Parameter, value: JSON) -> list[str]:
    if field.media_type or (isinstance(value, dict) and field.style == _field("", None).style):
        return query_pairs(field.style, field.name, plain(value))
    return query_pairs(field.style, field.name, value)


def _multipart(body: Body, value: JSON) -> tuple[str, bytes]:
    parts = []
    for field, each in _form_items(body, value):
        for item in each if isinstance(each, list) else [each]:
            kind = "text/plain; charset=utf-8" if _is_scalar(item) else "application/json"
            name = quote(field.name, safe=" -._~[]")
            head = f'Content-Disposition: form-data; name="{name}"'
            if field.media_type and not field.media_type.startswith("text/"):
                head += f'; filename="{name}"'
            head += f"\r\nContent-Type: {_concrete(field.media_type or kind)}\r\n\r\n"
            parts.append(head.encode() + plain(item).encode())
    # Of the content, which it is not in.
    boundary = hashlib.sha256(b"\0".join(parts)).hexdigest()[:40]
    mark = f"--{boundary}".encode()
    content = b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + mark + b"--\r\n"
    return f"{MULTIPART}; boundary={boundary}", content


def _preferred(types: list[str]) -> str:
    if not types:
        raise misconfigured("a body has no media type")
    for wanted in (_is_json, FORM.__eq__, MULTIPART.__eq__):
        found = next((each for each in types if wanted(each)), None)
        if found is not None:
            return found
    return types[0]


def _concrete(media_type: str) -> str:
    """Return a media type that can be sent: of ranges, the first of several."""
    first = media_type.partition(",")[0].strip()
    if any(not " " <= character <= "~" for character in first):
        raise misconfigured("a media type has characters that none has")
    if first in ("*/*", "application/*"):
        return "application/json"
    return "text/plain" if first == "text/*" else first


def _is_json(media_type: str) -> bool:
    name = media_type.partition(";")[0].strip().lower()
    return name == "application/json" or name.endswith("+json") or name in ("*/*", "application/*")


def _is_scalar(value: JSON) -> bool:
    return not isinstance(value, (dict, list))
