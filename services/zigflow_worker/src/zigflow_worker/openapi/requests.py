"""The HTTP request that an operation and arguments make."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from zigflow_worker.errors import CONFIGURATION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.openapi.bodies import Body, encode, read_body
from zigflow_worker.openapi.documents import ApiDocuments, Part, misconfigured
from zigflow_worker.openapi.operations import Operation, base_url, find_operation
from zigflow_worker.openapi.parameters import Parameter, check_given, read_parameters
from zigflow_worker.openapi.schemas import invalid
from zigflow_worker.openapi.styles import header_text, path_text, query_pairs
from zigflow_worker.outgoing.messages import OutgoingRequest

_TEMPLATE = re.compile(r"\{([^{}]*)\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PATH = "-._~!$&'()*+,;=:@/%"
"""Characters that a path in a document may have as they are."""
_MAX_ACCEPTED = 10


def build_request(
    documents: ApiDocuments, operation_id: str, arguments: Mapping[str, JSON]
) -> OutgoingRequest:
    """Return the request of an operation with arguments; what is null is not given.

    Raises:
        MissingDocumentError: a document that it refers to has to be added first.
        WorkflowError: of type `configuration` for the document or an unknown name, of type
            `validation` for an argument that does not match its schema.
    """
    try:
        return _build(find_operation(documents.root, operation_id), arguments)
    except UnicodeEncodeError:
        raise invalid("an argument has half of a surrogate pair, which is no character") from None


def _build(operation: Operation, arguments: Mapping[str, JSON]) -> OutgoingRequest:
    parameters = read_parameters(operation)
    places = [each for each in parameters if each.place not in ("body", "formData")]
    named = {each.name for each in places}
    draft = _Draft()
    for parameter in places:
        value = arguments.get(parameter.name)
        if value is None:
            check_given(parameter)
        else:
            draft.put(parameter, parameter.written(parameter.checked(value)))
    rest = {name: value for name, value in arguments.items() if name not in named}
    content_type, content = _content(operation, read_body(operation, parameters), rest)
    headers = [*draft.headers, *_accepted(operation)]
    if draft.cookies:
        headers.append(("Cookie", "; ".join(draft.cookies)))
    if content is not None:
        headers.append(("Content-Type", content_type))
    return OutgoingRequest(
        method=operation.method, url=draft.url(operation), headers=headers, body=content
    )


@dataclass(slots=True)
class _Draft:
    """Parts of a request that parameters make."""

    segments: dict[str, str] = field(default_factory=dict)
    query: list[str] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
    cookies: list[str] = field(default_factory=list)

    def put(self, parameter: Parameter, value: JSON) -> None:
        """Write a parameter where it belongs (raises WorkflowError, of type `validation`)."""
        style, name = parameter.style, parameter.name
        match parameter.place:
            case "path":
                self.segments[name] = path_text(style, name, value)
            case "query":
                self.query += query_pairs(style, name, value)
            case "cookie":
                self.cookies += query_pairs(style, name, value)
            case _:
                text = header_text(style, value)
                if _CONTROL.search(text):
                    raise invalid(f"'{name}' has a control character, which no header may have")
                self.headers.append((name, text))

    def url(self, operation: Operation) -> str:
        """Return the URL (raises WorkflowError for a path's parameter that is not declared)."""

        def segment(match: re.Match[str]) -> str:
            if match[1] not in self.segments:
                raise misconfigured(
                    f"{operation.path} names '{match[1]}', which is no parameter of its path"
                )
            return self.segments[match[1]]

        written = _TEMPLATE.sub(segment, _quoted_path(operation.path))
        if any(part in (".", "..") for part in written.split("/")):
            raise invalid("a parameter of a path may not be '.' or '..'")
        query = f"?{'&'.join(self.query)}" if self.query else ""
        return f"{base_url(operation)}/{written.lstrip('/')}{query}"


def _quoted_path(path: str) -> str:
    """Return a path that may stand in a URL; its templates are left."""
    pieces = re.split(r"(\{[^{}]*\})", path)
    return "".join(piece if piece.startswith("{") else quote(piece, safe=_PATH) for piece in pieces)


def _content(
    operation: Operation, body: Body | None, rest: Mapping[str, JSON]
) -> tuple[str, bytes | None]:
    if body is not None and (rest or body.is_required):
        if not rest and not body.fields:
            raise invalid(f"the body of {operation.method} {operation.path} is required")
        return encode(body, body.value_of(rest))
    if rest:
        detail = f"the operation has no parameter '{next(iter(rest))}', and no body"
        raise WorkflowError.of(CONFIGURATION, detail)
    return "", None


def _accepted(operation: Operation) -> list[tuple[str, str]]:
    """Return the header that names the types of successful responses, where there are any."""
    types: list[str] = []
    root = operation.part.documents.root
    if operation.swagger:
        produces = operation.part.get("produces") or root.get("produces")
        types = [str(each.value) for each in produces.items()] if produces is not None else []
    else:
        types = _response_types(operation.part.get("responses"))
    known = list(dict.fromkeys(each for each in types if each.isascii() and each.isprintable()))
    return [("Accept", ", ".join(known[:_MAX_ACCEPTED]))] if known else []


def _response_types(responses: Part | None) -> list[str]:
    types: list[str] = []
    for status in () if responses is None else responses.fields():
        response = responses.get(status) if status.startswith("2") and responses else None
        content = None if response is None else response.get("content")
        types += [] if content is None else content.fields()
    return types
