"""YAML 1.2 as events, without what only YAML can say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.events import Event as YamlEvent
from ruamel.yaml.reader import ReaderError

from zigflow_worker.loading.errors import DocumentError, one_line, quoted
from zigflow_worker.loading.events import Event, Lines

_TAGS = {
    ScalarEvent: "tag:yaml.org,2002:str",
    MappingStartEvent: "tag:yaml.org,2002:map",
    SequenceStartEvent: "tag:yaml.org,2002:seq",
}
_TaggedEvent: TypeAlias = ScalarEvent | MappingStartEvent | SequenceStartEvent


def yaml_events(text: str) -> Iterator[Event]:
    """Yield the events of YAML 1.2 (raises DocumentError where it is malformed)."""
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            translated = _translate(event)
            if translated is not None:
                yield translated
    except MarkedYAMLError as error:
        raise _malformed(error) from None
    except ReaderError as error:
        line, column = Lines(text).at(error.position)
        raise DocumentError(
            f"character {error.character!r} is not allowed", "", line, column
        ) from None
    except YAMLError as error:
        raise DocumentError(one_line(str(error))) from None


def _translate(event: YamlEvent) -> Event | None:
    if isinstance(event, DocumentStartEvent):
        _check_version(event)
        return None
    if isinstance(event, (MappingEndEvent, SequenceEndEvent)):
        return Event("end", "", *_mark(event))
    if isinstance(event, AliasEvent):
        return Event("alias", event.anchor, *_mark(event))
    if isinstance(event, (MappingStartEvent, SequenceStartEvent)):
        kind: Literal["map", "list"] = "map" if isinstance(event, MappingStartEvent) else "list"
        return Event(kind, "", *_mark(event), event.anchor, _tag_problem(event))
    if isinstance(event, ScalarEvent):
        plain = event.implicit[0] and not event.style and event.tag is None
        kind_of_scalar: Literal["plain", "text"] = "plain" if plain else "text"
        problem = _tag_problem(event)
        return Event(kind_of_scalar, event.value, *_mark(event), event.anchor, problem)
    return None


def _check_version(event: DocumentStartEvent) -> None:
    version = event.version
    if version is not None and tuple(version) != (1, 2):
        message = f"YAML {version[0]}.{version[1]} is not supported: only YAML 1.2"
        raise DocumentError(message, "", *_mark(event)[:2])


def _tag_problem(event: _TaggedEvent) -> str:
    tag = event.tag
    if tag in (None, "!", _TAGS[type(event)]):
        return ""
    shown = quoted(str(tag).replace("tag:yaml.org,2002:", "!!"))
    return f"tag {shown} is not supported"


def _mark(event: YamlEvent) -> tuple[int, int, int]:
    mark = event.start_mark
    return int(mark.line) + 1, int(mark.column) + 1, int(mark.index)


def _malformed(error: MarkedYAMLError) -> DocumentError:
    mark = error.problem_mark or error.context_mark
    parts = [part for part in (error.context, error.problem) if part]
    place = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    return DocumentError(one_line(", ".join(parts) or "malformed YAML"), "", *place)
