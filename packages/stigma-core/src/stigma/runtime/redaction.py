"""Redaction of secrets from log lines, spans and errors, in whatever form they were written.

Two kinds of secrets. Those that this process holds (keys, passwords) are known: they are searched
for as they are and as they are encoded on their way into texts. Those that pass through (callback
tokens, other people's keys) are known by their shape, or by the name before them.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import PurePath
from uuid import UUID

MASK = "[masked]"

# Shortest secret whose encoded forms are searched for: shorter ones occur by chance.
_SHORTEST_ENCODED = 8
# Depth of quotes: a message that quotes an exception that quotes a message.
_LEVELS = 3
_SHORTEST_TOKEN = 60
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_TOKENS = re.compile(
    "|".join(
        (
            # A token starts with field 1, 36 bytes long: the namespace id. Raw, repr or octal,
            # or as it stands in a URL. Its end cannot be known, for a workflow's id may
            # have any character: what follows is masked with it.
            rf"(?:\n|\\n|\\012|\\x0a|\\x0A|\\u000[aA]|%0[aA])(?:\$|\\u0024|%24){_UUID}[\s\S]*",
            # base64, in lines or in a URL as well; hex is within.
            r"(?:[A-Za-z0-9+/_\-]|\\n|\r?\n|%2[bBfF]){100,}(?:=|%3[dD]){0,2}",
            r"(?:[0-9a-fA-F]{2}[ :]){40,}[0-9a-fA-F]{2}",
            r"(?:\\+x[0-9a-fA-F]{2}|\\+[0-3][0-7]{2}|%[0-9a-fA-F]{2}){24,}",  # escaped bytes
            r"(?:\b\d{1,3},\s*){40,}\d{1,3}\b",  # a list of byte values
        )
    )
)
_NAMES = "api[_-]?key|(?:[a-z_-]*_)?token|password|passwd|secret|authorization"
_CREDENTIALS = re.compile(
    "|".join(
        (
            r"(?P<scheme>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=%\-]{16,}",
            r"(?P<url>://[^/\s:@\"']*:)[^/\s@\"']+(?=@)",
            rf"(?P<named>\b(?:{_NAMES})\\*[\"']?\s*=\s*b?\\*[\"']?)[^\s\"'&,;)}}\\]+",
            rf"(?P<quoted>\b(?:{_NAMES})\\*[\"']\s*:\s*b?\\*[\"'])[^\"'\\]+",
            r"(?P<query>[?&]key=)[^\s\"'&]+",
        )
    ),
    re.IGNORECASE,
)
# Substrings, one of which is in every match of _CREDENTIALS; nearly no value has any.
_CREDENTIAL_MARKERS = ("=", "://", '":', "':", '" :', "' :", "earer", "EARER", "asic ", "ASIC ")
_SECRET_NAMES = frozenset(
    {"token", "callback_token", "task_token", "api_key", "authorization", "password", "secret"}
    | {"prompt", "messages"}
)


class Redaction:
    """Masks secrets.

    Args:
        hidden: the secrets that this process holds; passwords within their URLs count.
    """

    def __init__(self, hidden: Iterable[str] = ()) -> None:
        forms = {form for secret in _with_parts(hidden) for form in _forms(secret)}
        ordered = sorted(forms, key=len, reverse=True)
        self._hidden = re.compile("|".join(map(re.escape, ordered)))
        # Where a form is, each that is part of it is too.
        self._needles = [form for form in ordered if not any(o in form for o in forms - {form})]

    def text(self, text: str) -> str:
        """Return `text` with everything masked that is a secret, or looks like one."""
        # Searching for each is several times faster than a pattern of all.
        if _any_in(self._needles, text):
            text = self._hidden.sub(MASK, text)
        if _any_in(_CREDENTIAL_MARKERS, text):
            text = _CREDENTIALS.sub(_without_value, text)
        # Nearly every value is shorter than any token: spare those the search.
        return text if len(text) < _SHORTEST_TOKEN else _TOKENS.sub(MASK, text)

    def fields(self, fields: Mapping[str, object]) -> dict[str, object]:
        """Return fields with each value redacted by `value`."""
        # Nearly always nothing is to be masked: one search of all short texts shows that.
        short = {
            key: value
            for key, value in fields.items()
            if type(value) is str and len(value) < _SHORTEST_TOKEN
        }
        together = "\n".join(short.values())
        clear = not _any_in(self._needles, together) and not _any_in(_CREDENTIAL_MARKERS, together)
        return {
            key: value
            if clear and key in short and key.lower() not in _SECRET_NAMES
            else self.value(key, value)
            for key, value in fields.items()
        }

    def value(self, key: str, value: object) -> object:
        """Return a value as plain data, masked; of other objects only their type."""
        if value and key.lower() in _SECRET_NAMES:
            return MASK
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self.text(str(value))
        if isinstance(value, Mapping):
            return {self.text(str(k)): self.value(str(k), v) for k, v in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value("", v) for v in value]
        return self._plain(value)

    def _plain(self, value: object) -> object:
        if isinstance(value, Enum):
            return self.value("", value.value)
        if isinstance(value, timedelta):
            return value.total_seconds()
        if isinstance(value, date | datetime):
            return value.isoformat()
        if isinstance(value, UUID | PurePath | BaseException):
            return self.text(str(value))
        return f"<{type(value).__name__}>"


def _any_in(needles: Iterable[str], text: str) -> bool:
    """Return whether one of the needles is in the text."""
    for needle in needles:  # noqa: SIM110 - a generator would take twice as long
        if needle in text:
            return True
    return False


def _without_value(found: re.Match[str]) -> str:
    kept = found.lastgroup
    return f"{found[kept]}{MASK}" if kept else MASK


def _with_parts(hidden: Iterable[str]) -> Iterator[str]:
    """Yield the secrets, and the password in each that is a URL."""
    for secret in hidden:
        if not secret:
            continue
        yield secret
        try:
            password = urllib.parse.urlsplit(secret).password if "://" in secret else None
        except ValueError:
            password = None
        if password:
            yield password
            yield urllib.parse.unquote(password)


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret in each encoding in which it gets into a text."""
    content = secret.encode(errors="surrogateescape")
    yield from _quoted({secret, repr(content)[2:-1]})
    if len(content) < _SHORTEST_ENCODED:
        return
    yield from _quoted({content.decode("latin-1"), *_escaped(content)})
    yield from _percent_encoded(content)
    for joint in ("", ":", " "):
        yield content.hex(joint) if joint else content.hex()
        yield (content.hex(joint) if joint else content.hex()).upper()
    yield ", ".join(map(str, content))
    yield ",".join(map(str, content))
    for offset in range(3):  # within other bytes, it may start at any of three places
        yield from _base64(content, offset)


def _quoted(texts: set[str]) -> set[str]:
    """Return the texts, and their forms quoted by Python or JSON, up to three times over."""
    for _ in range(_LEVELS):
        texts = texts | {
            quoted
            for text in texts
            for quoted in (
                # Whether Python escapes a quotation mark depends on what stands beside it.
                "'".join(repr(part)[1:-1] for part in text.split("'")),
                "\\'".join(repr(part)[1:-1] for part in text.split("'")),
                json.dumps(text)[1:-1],
                json.dumps(text, ensure_ascii=False)[1:-1],
            )
        }
    return texts


def _escaped(content: bytes) -> Iterator[str]:
    yield "".join(f"\\x{byte:02x}" for byte in content)
    yield "".join(f"\\{byte:03o}" for byte in content)
    plain = {10: "\\n", 13: "\\r", 9: "\\t", 34: '\\"', 39: "\\'", 92: "\\\\"}
    # As protobuf's text format has bytes.
    yield "".join(
        plain.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in content
    )


def _percent_encoded(content: bytes) -> Iterator[str]:
    for encoded in (
        urllib.parse.quote(content),
        urllib.parse.quote(content, safe=""),
        urllib.parse.quote_plus(content),
        "".join(f"%{byte:02X}" for byte in content),
    ):
        yield encoded
        yield re.sub("%..", lambda found: found[0].lower(), encoded)


def _base64(content: bytes, offset: int) -> Iterator[str]:
    """Yield the characters of its base64 that do not depend on what stands beside the secret."""
    first, last = -(-offset * 8 // 6), (offset + len(content)) * 8 // 6
    standard = base64.b64encode(b"\0" * offset + content)[first:last].decode()
    if offset == 0:
        in_lines = base64.encodebytes(content).decode().rstrip("\n=")
        yield in_lines
        yield in_lines.replace("\n", "\\n")
        yield base64.b64encode(content).decode()
        yield base64.urlsafe_b64encode(content).decode()
    yield standard
    yield standard.translate(str.maketrans("+/", "-_"))
    yield urllib.parse.quote(standard, safe="")
