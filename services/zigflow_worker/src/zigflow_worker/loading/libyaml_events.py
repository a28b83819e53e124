"""YAML as events by libyaml, which takes a twentieth of the time of the reader of YAML 1.2.

It reads the grammar of YAML 1.1, of which 1.2 has little that differs. What it refuses, or is known
to read otherwise, is left to the other reader, whose messages people know. It takes tabs in more
places, comments right after the sign of a block (`|#`), and blank lines of spaces at its begin.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from zigflow_worker.loading.events import Event

_LOADER = getattr(yaml, "CSafeLoader", None)
"""Absent where PyYAML was built without libyaml."""
_OTHERWISE = re.compile("[\\x85\\u2028\\u2029\\ufeff]|^[|>]", re.MULTILINE)
"""Line breaks of YAML 1.1, byte order marks, and blocks that are not indented."""
_NAME_GOES_ON = frozenset("?:%@`")
"""Characters of names, for YAML 1.2, which end one for libyaml."""
_BLOCKS = ("|", ">")
"""Styles of scalars of lines, which need no indentation where they are the whole document."""
_OWN_TAGS = {
    yaml.ScalarEvent: "tag:yaml.org,2002:str",
    yaml.MappingStartEvent: "tag:yaml.org,2002:map",
    yaml.SequenceStartEvent: "tag:yaml.org,2002:seq",
}
_TAGGED = tuple(_OWN_TAGS)


class NotLibyamlError(Exception):
    """The text is to be read by the other reader."""


def libyaml_events(text: str) -> Iterator[Event]:
    """Yield the events of YAML (raises NotLibyamlError, also after some)."""
    if _LOADER is None or _OTHERWISE.search(text):
        raise NotLibyamlError
    try:
        is_root = True
        for event in yaml.parse(text, Loader=_LOADER):
            if _has_other_name(event, text) or (is_root and _is_block(event)):
                raise NotLibyamlError
            is_root &= not isinstance(event, yaml.NodeEvent)
            translated = _translate(event)
            if translated is not None:
                yield translated
    except (yaml.YAMLError, UnicodeError):
        raise NotLibyamlError from None


def _has_other_name(event: yaml.Event, text: str) -> bool:
    """Return whether the name of an anchor or an alias goes on where libyaml ends it."""
    anchor = getattr(event, "anchor", None)
    if anchor is None:
        return False
    end = event.start_mark.index + 1 + len(anchor)
    is_tagged = getattr(event, "tag", None) is not None  # the tag may come first
    return is_tagged or text[end : end + 1] in _NAME_GOES_ON


def _is_block(event: yaml.Event) -> bool:
    return getattr(event, "style", None) in _BLOCKS


def _translate(event: yaml.Event) -> Event | None:
    kind = type(event)
    mark = event.start_mark
    place = mark.line + 1, mark.column + 1, mark.index
    if isinstance(event, _TAGGED) and event.tag not in (None, "!", _OWN_TAGS[kind]):
        raise NotLibyamlError
    if kind is yaml.ScalarEvent:
        plain = event.implicit[0] and not event.style and event.tag is None
        return Event("plain" if plain else "text", event.value, *place, event.anchor)
    if kind is yaml.MappingStartEvent:
        return Event("map", "", *place, event.anchor)
    if kind is yaml.SequenceStartEvent:
        return Event("list", "", *place, event.anchor)
    if kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
        return Event("end", "", *place)
    if kind is yaml.AliasEvent:
        return Event("alias", event.anchor, *place)
    if kind is yaml.DocumentStartEvent and event.version not in (None, (1, 2)):
        raise NotLibyamlError
    return None
