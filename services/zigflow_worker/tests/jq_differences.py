"""Where our engine differs from the C jq on purpose; what is not here is a fault."""

import re

WANTED: dict[str, str] = {
    r"(reduce|foreach)(.|\n)*([^=!<>]=[^=]|path|del|pick)|([^=!<>]=[^=]|path|del|pick)(.|\n)*(reduce|foreach)": (
        "places that `reduce` and `foreach` select: jq forgets the path at each turn"
    ),
}
"""Reasons, by the regular expression of what a program and its difference say."""


def reason(program: str, difference: str) -> str | None:
    """Return why a difference is wanted; None when it is a fault."""
    text = f"{program}\n{difference}"
    return next((why for shape, why in WANTED.items() if re.search(shape, text)), None)
