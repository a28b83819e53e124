"""Where our engine differs from the C jq on purpose; what is not here is a fault."""

import re

_FOLDS = r"(\b(reduce|foreach)\b|\bas [\[{])"
WANTED: dict[str, str] = {
    rf"\b(path|del|pick)\(.*{_FOLDS}|def h.*{_FOLDS}.*\b(path|del|pick)\(": (
        "places selected in a `reduce`, a `foreach` or after a pattern: jq forgets or keeps the "
        "path of another value"
    ),
    r"\bcatch \$.*=": "jq takes a value for the place of another that is the same",
    r"@base64d": "bytes that are no UTF-8 are replaced one by one",
    r"Cannot use .* as object key at|refused: cannot use .* as object key": (
        "a constant key that is no string is refused, or fails when run"
    ),
    r"jq's .*\D-0\D": "an integer zero has no sign",
    r"jq's .*(?<![.\d])\d{16,}(?![.\d])": "integers are exact",
    r"strptime(.|\n)*jq's \[\[.*, '": "jq adds a text that is left over to the result",
    r'strptime\("%s"\)(.|\n)*ours \[\], failed': "jq leaves text behind a number of seconds unread",
    r"jq's .*'string': (None|'')": "the order of the keys of a capture without text",
    r"@html(.|\n)*jq's .*\\\\0": "jq writes a NUL as a backslash and a zero",
    r"invalid gmtime representation": "jq takes the second before 1970 for an error of C",
    r"\bhypot\(": "Python rounds the last digit where the C library does not",
    r"(date|gmtime|strftime)\b(.|\n)*ours .*\b(0\d|1[0-8]|19(?=[0-6]))\d\d\b": (
        "a fraction of a second before 1970: jq rounds it up, and counts it twice"
    ),
    r"%Z": "the name of UTC; jq's is GMT",
}
"""Reasons, by the regular expression of programs, and of differences (`jq's …`)."""


def reason(program: str, difference: str) -> str | None:
    """Return why a program may differ; None when it is a fault."""
    text = f"{program}\n{difference}"
    return next((why for shape, why in WANTED.items() if re.search(shape, text)), None)
