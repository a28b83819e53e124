"""URI templates with simple expansion: level 1 of RFC 6570."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from zigflow_worker.errors import EXPRESSION, WorkflowError
from zigflow_worker.expressions import JSON

_EXPRESSION = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")


def names_in(template: str) -> list[str]:
    """Return the names that a template's braces hold, each once.

    Raises:
        ValueError: braces hold anything else, or are not closed.
    """
    rest = _EXPRESSION.sub("", template)
    names = [match[1] for match in _EXPRESSION.finditer(template)]
    others = [name for name in names if not _NAME.fullmatch(name)]
    unbalanced = "{" in rest or "}" in rest
    if "${" in template and (unbalanced or others):
        raise ValueError(r'an expression must be the whole text: ${ "https://host/\(.id)" }')
    if unbalanced:
        raise ValueError("a brace of the URI template is not closed, or was not opened")
    if others:
        raise ValueError(f"'{{{others[0]}}}': a URI template takes names in braces, nothing else")
    return list(dict.fromkeys(names))


def check_http_template(template: str) -> None:
    """Check that a template makes http or https URIs.

    Raises:
        ValueError: it does not, or has credentials in it.
    """
    names_in(template)
    parts = urlsplit(template)
    if template.startswith("{"):
        return
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError("expected an http or https URI")
    if "@" in parts.netloc:
        raise ValueError("credentials belong into 'authentication', not into the URI")


def check_resource_template(template: str) -> None:
    """Check that a template makes URIs of documents: http, https, file or relative.

    Raises:
        ValueError: it does not, or has credentials in it.
    """
    names_in(template)
    parts = urlsplit(template)
    if parts.scheme not in {"", "file", "http", "https"} and not template.startswith("{"):
        raise ValueError("expected a URI: http, https, file or relative")
    if "@" in parts.netloc:
        raise ValueError("credentials belong into 'authentication', not into the URI")


def template_parts(template: str) -> dict[str, JSON]:
    """Return a literal template beside expressions for its values, for `expand` later."""
    values: JSON = {name: f'${{ .["{name}"]? }}' for name in names_in(template)}
    return {"uriTemplate": template, "uriValues": values}


def expand(template: str, values: Mapping[str, JSON]) -> str:
    """Return a template with its names replaced by values, percent-encoded; null by nothing.

    Raises:
        WorkflowError: of type `expression`: a value is a list or a map, or would be a step in the
            path's folders.
    """
    return _EXPRESSION.sub(lambda match: _text(match[1], values.get(match[1])), template)


def _text(name: str, value: JSON) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    if isinstance(value, (dict, list)):
        raise WorkflowError.of(EXPRESSION, f"'{{{name}}}' is a list or map, which no URI can have")
    if text in {".", ".."}:
        raise WorkflowError.of(EXPRESSION, f"'{{{name}}}' would lead elsewhere in the URI's path")
    return quote(text, safe="", errors="replace")
