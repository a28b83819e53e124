"""Keys and keywords that are meant, but misspelt or called by another name."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from stigma.contracts import spelling

_OTHER_NAMES = {
    "arguments": ("args", "params", "parameters", "input"),
    "after": ("duration", "timeout"),
    "agent": ("name", "id"),
    "as": ("from", "name", "variable"),
    "at": ("index",),
    "body": ("data", "json", "payload", "content"),
    "branches": ("tasks", "steps", "do"),
    "call": ("http", "grpc", "openapi", "agent", "function", "action", "type", "uses"),
    "count": ("attempts", "max", "maxattempts", "retries"),
    "delay": ("interval", "wait"),
    "do": ("tasks", "steps", "actions", "states"),
    "each": ("item", "variable", "as", "var"),
    "emit": ("publish", "event", "send"),
    "endpoint": ("url", "uri", "address", "href"),
    "for": ("foreach", "loop", "each"),
    "fork": ("parallel", "concurrent"),
    "from": ("as",),
    "if": ("when", "condition"),
    "in": ("items", "list", "of", "collection", "over"),
    "message": ("prompt", "text", "question"),
    "operationId": ("operation",),
    "password": ("pass", "secret"),
    "query": ("params", "queryparams", "parameters"),
    "raise": ("throw", "error", "fail"),
    "retry": ("retries",),
    "set": ("assign", "output", "inject"),
    "switch": ("condition", "choice", "else", "match"),
    "then": ("next", "goto", "transition"),
    "try": ("catch",),
    "username": ("user", "login"),
    "wait": ("sleep", "delay", "pause"),
    "when": ("if", "condition", "case"),
    "with": ("args", "arguments", "parameters", "params", "inputs"),
}
"""Names that other languages have for a key or keyword."""


def meant(word: str, known: Collection[str]) -> str:
    """Return ", did you mean 'WORD'?" for what a word stands for, "" where nothing is close."""
    plain = word.lower().replace("_", "").replace("-", "")
    for each in known:
        if plain in _OTHER_NAMES.get(each, ()):
            return f", did you mean '{each}'?"
    return spelling.did_you_mean(word, known)


def is_meant(key: str, unknown: Sequence[str]) -> bool:
    """Return whether one of the unknown keys of a map stands for a key."""
    others = _OTHER_NAMES.get(key, ())
    return spelling.is_misspelt(key, unknown) or any(each.lower() in others for each in unknown)
