"""Where our engine differs from the C jq on purpose; what is not here is a fault."""

import re

_PLACES = r"([^=!<>]=[^=]|\b(path|del|pick|paths)\()"
_FOLDS = r"(\b(reduce|foreach)\b|\bas [\[{])"
WANTED: dict[str, str] = {
    rf"{_FOLDS}(.|\n)*{_PLACES}|{_PLACES}(.|\n)*{_FOLDS}": (
        "places selected in a `reduce`, a `foreach` or after a pattern: jq forgets or keeps the "
        "path of another value"
    ),
    r"@base64d": "bytes that are no UTF-8 are replaced one by one",
    r"\(\[\]\):|\(\{\}\):|\(null\):": "a constant key that is no string fails when run",
    r"%Z": "the name of UTC; jq's is GMT",
}
"""Reasons, by the regular expression of programs."""


def reason(program: str) -> str | None:
    """Return why a program may differ; None when it is a fault."""
    return next((why for shape, why in WANTED.items() if re.search(shape, program)), None)
