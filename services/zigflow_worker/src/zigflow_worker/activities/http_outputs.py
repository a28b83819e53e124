"""The output of a call, made of an HTTP response."""

from __future__ import annotations

import base64
import re
from http import HTTPStatus
from urllib.parse import urlsplit, urlunsplit

from stigma.contracts import json_text
from zigflow_worker.activities.call_evaluation import EvaluatedCall
from zigflow_worker.errors import COMMUNICATION, EXPRESSION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.outgoing.messages import Headers, OutgoingResponse, place_of

_ERRORS, _REDIRECTS = 400, 300
_CHARSETS = re.compile(
    r"utf-?8(-sig)?|utf-?(16|32)(-?[bl]e)?|us-ascii|ascii|latin-?1|iso-?8859-?\d{1,2}"
    r"|(windows-|cp)\d{3,4}|koi8-[rtu]|mac-?roman|gb2312|gbk|gb18030|big5(-?hkscs)?"
    r"|shift[-_]?jis|sjis|euc-?(jp|kr)|iso-?2022-?(jp|kr)|johab|tis-?620"
)
"""The character sets of texts. Python knows others that take minutes for a megabyte (punycode), or
make half characters (utf-7, unicode_escape)."""
_CREDENTIALS = frozenset(
    ("authorization", "proxy-authorization", "authentication-info", "cookie", "set-cookie")
)


def check_status(response: OutgoingResponse, *, redirects: bool) -> None:
    """Check that a response is a successful one.

    Args:
        response: the last one.
        redirects: whether those that were not followed are.

    Raises:
        WorkflowError: of type `communication`, with the response's status.
    """
    status = response.status
    if status < _REDIRECTS or (redirects and status < _ERRORS):
        return
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    detail = f"{place_of(response.request)}: HTTP status {status}{phrase}"
    raise WorkflowError.of(COMMUNICATION, detail).with_status(status)


def output_form(value: JSON) -> str:
    """Return the form of output that a task asks for: `content`, `response` or `raw`.

    Raises:
        WorkflowError: of type `expression` where there is no such form.
    """
    if not value:
        return "content"
    if value not in ("content", "response", "raw"):
        raise WorkflowError.of(EXPRESSION, "'output' is not one of content, response and raw")
    return str(value)


def http_output(response: OutgoingResponse, form: str, call: EvaluatedCall) -> JSON:
    """Return the output in a form.

    Raises:
        WorkflowError: of type `communication` where a body is not what its type says.
    """
    if form == "raw":
        return base64.b64encode(response.body).decode()
    if form == "content":
        return content_of(response)
    return {
        "request": _described_request(response, call),
        "statusCode": response.status,
        "headers": _visible(response.headers),
        "content": content_of(response),
    }


def content_of(response: OutgoingResponse) -> JSON:
    """Return a body as data: JSON parsed, text decoded, anything else as base64, none as null.

    Raises:
        WorkflowError: of type `communication`, status 500: it is not the JSON that it says.
    """
    media_type, charset = _content_type(response.header("content-type") or "")
    body = response.body
    if media_type.startswith("text/"):
        return _text(body, charset)
    if not body:
        return None
    if media_type.endswith(("/json", "+json")):
        return _json(body, place_of(response.request))
    return base64.b64encode(body).decode()


def _content_type(value: str) -> tuple[str, str]:
    media_type, *parameters = value.lower().split(";")
    charset = "utf-8"
    for parameter in parameters:
        name, _, text = parameter.partition("=")
        if name.strip() == "charset":
            charset = text.strip().strip('"')
    return media_type.strip(), charset


def _text(body: bytes, charset: str) -> str:
    known = charset if _CHARSETS.fullmatch(charset) else "utf-8"
    try:
        return body.decode(known, errors="replace")
    except LookupError:
        return body.decode(errors="replace")


def _json(body: bytes, place: str) -> JSON:
    try:
        value: JSON = json_text.parse(body.decode("utf-8-sig"))
    except ValueError:
        raise WorkflowError.of(COMMUNICATION, f"{place}: the body is not JSON") from None
    return value


def _described_request(response: OutgoingResponse, call: EvaluatedCall) -> JSON:
    request = response.request
    secret = {name for name, _ in request.headers if call.may_hold_secrets("headers", name)}
    headers = [(name, value) for name, value in request.headers if name not in secret]
    return {
        "method": request.method,
        "uri": _visible_uri(request.url, call),
        "headers": _visible(headers),
    }


def _visible_uri(url: str, call: EvaluatedCall) -> str:
    """Return a URL without those parts that may hold secrets."""
    parts = urlsplit(url)
    if call.may_hold_secrets("endpoint") or call.may_hold_secrets("uriValues"):
        return urlunsplit((parts.scheme, parts.netloc, "/", "", ""))
    if call.may_hold_secrets("query"):
        return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    return url


def _visible(headers: Headers) -> JSON:
    """Return headers by name, in lower case, without those that carry credentials."""
    visible: dict[str, JSON] = {}
    for name, value in headers:
        key = name.lower()
        if key not in _CREDENTIALS:
            visible[key] = f"{visible[key]}, {value}" if key in visible else value
    return visible
