"""Reads the text of one document."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from stigma.contracts import json_text, limits
from zigflow_worker.expressions import JSON
from zigflow_worker.loading.builder import Builder
from zigflow_worker.loading.errors import DocumentError
from zigflow_worker.loading.events import Event
from zigflow_worker.loading.json_events import NotJsonError, json_events
from zigflow_worker.loading.libyaml_events import NotLibyamlError, libyaml_events
from zigflow_worker.loading.places import SourceDocument
from zigflow_worker.loading.yaml_events import yaml_events

MAX_CHARACTERS = 1_000_000
MAX_FOREIGN_NODES = 500_000
"""Values in a document of another language."""
MAX_FOREIGN_DEPTH = 100
"""Lists and maps inside each other in a document of another language."""
_JSON_EVENT, _YAML_EVENT = 12, 40
"""Weights of an event: a value, a key or an end."""


def load_for_problems(text: str) -> tuple[SourceDocument | None, list[DocumentError]]:
    """Read a document, and go on after what is wrong with a part of it.

    Parts that cannot be read are `UNREADABLE`. None: nothing can be read, for the last reason.
    """
    found: list[DocumentError] = []
    try:
        return _load(text, limits.MAX_DOCUMENT_WEIGHT, found), found
    except DocumentError as error:
        return None, [*found, error]


# Few: a text is compiled soon after it was read, and its places may take 12 MiB.
@lru_cache(maxsize=16)
def load_document(text: str, most: int | None = limits.MAX_DOCUMENT_WEIGHT) -> SourceDocument:
    """Read one YAML 1.2 or JSON document, once for each text (raises DocumentError).

    `most` is the weight it may have, None any.
    """
    return _load(text, most)


def _load(text: str, most: int | None, found: list[DocumentError] | None = None) -> SourceDocument:
    if len(text) > MAX_CHARACTERS:
        raise DocumentError(f"the document is longer than {MAX_CHARACTERS} characters")
    text = text.removeprefix("\ufeff")
    if text.lstrip(" \t\r\n")[:1] in ("{", "["):
        try:
            own = None if found is None else list[DocumentError]()
            source = Builder(_JSON_EVENT, most, found=own).build(json_events(text), text)
        except NotJsonError:
            pass  # flow style YAML begins the same way
        else:
            if found is not None:
                found.extend(own or ())
            return source
    return Builder(_YAML_EVENT, most, found=found).build(yaml_events(text), text)


def load_foreign(text: str) -> JSON:
    """Read one JSON or YAML 1.2 document of another language (raises DocumentError).

    Map keys may be numbers, which OpenAPI's are (`200:`): they are read as text. Values repeated by
    an alias are the same object.
    """
    text = text.removeprefix("\ufeff")
    if text.lstrip(" \t\r\n")[:1] in ("{", "["):
        try:
            data: JSON = json_text.parse(text)
        except json_text.NestingError as error:
            raise DocumentError(str(error)) from None
        except ValueError:
            data = None  # flow style YAML begins the same way
        else:
            _check_foreign(data)
            return data
    if len(text) > MAX_CHARACTERS:
        raise DocumentError(f"YAML may have {MAX_CHARACTERS} characters: longer, it has to be JSON")
    try:
        data = _foreign_data(libyaml_events(text), text)
    except NotLibyamlError:
        data = _foreign_data(yaml_events(text), text)
    _check_foreign(data)
    return data


def _foreign_data(events: Iterator[Event], text: str) -> JSON:
    builder = Builder(_YAML_EVENT, None, text_keys=True, nodes=MAX_FOREIGN_NODES)
    return builder.build(events, text).data


def _check_foreign(data: JSON) -> None:
    waiting, nodes = [(data, 1)], 0
    while waiting:
        value, depth = waiting.pop()
        nodes += 1
        if nodes > MAX_FOREIGN_NODES:
            raise DocumentError(f"the document has more than {MAX_FOREIGN_NODES} values")
        if depth > MAX_FOREIGN_DEPTH and isinstance(value, (dict, list)):
            raise DocumentError(f"the document is nested more than {MAX_FOREIGN_DEPTH} deep")
        if isinstance(value, dict):
            waiting += [(each, depth + 1) for each in value.values()]
        elif isinstance(value, list):
            waiting += [(each, depth + 1) for each in value]
