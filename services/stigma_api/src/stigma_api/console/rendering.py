"""Templates and static files. Everything that a template is given is escaped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

_HERE = Path(__file__).parent
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FOR_A_YEAR = "public, max-age=31536000, immutable"


class Templates:
    """Makes pages and parts of pages.

    Args:
        constants: what every template knows.
    """

    def __init__(self, assets: Assets, **constants: object) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= constants | {"asset": assets.url}
        self._environment.filters |= {
            "moment": moment,
            "took": took,
            "count": count,
            "dollars": dollars,
            "words": words,
        }

    def page(self, name: str, status_code: int = 200, **values: Any) -> HTMLResponse:
        """Return a whole page."""
        return HTMLResponse(self.part(name, **values), status_code)

    def part(self, name: str, **values: Any) -> str:
        """Return what a template makes of values."""
        return self._environment.get_template(name).render(**values)


class Assets:
    """The static files, held in memory; their addresses change with their content."""

    def __init__(self) -> None:
        self._files = {path.name: path.read_bytes() for path in (_HERE / "static").iterdir()}
        self._versions = {
            name: hashlib.sha256(content).hexdigest()[:12] for name, content in self._files.items()
        }

    def url(self, name: str) -> str:
        """Return a file's address."""
        return f"/static/{name}?v={self._versions[name]}"

    def answer(self, name: str, query: Mapping[str, str]) -> Response | None:
        """Return a file; None when there is none of this name."""
        content = self._files.get(name)
        if content is None:
            return None
        # During an upgrade a page of one release may ask a pod of another.
        current = query.get("v") == self._versions[name]
        caching = {"Cache-Control": _FOR_A_YEAR if current else "no-cache"}
        return Response(content, media_type=_TYPES[Path(name).suffix], headers=caching)


def moment(time: datetime) -> str:
    """Show a time to the second, in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def took(duration: timedelta) -> str:
    """Show a duration with as many digits as help."""
    seconds = duration.total_seconds()
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min {seconds} s"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min"


def count(number: int) -> str:
    """Show a number with its thousands apart."""
    return f"{number:,}"


def dollars(cost: float) -> str:
    """Show a cost to the hundredth of a cent."""
    return f"${cost:,.4f}"


def words(name: str) -> str:
    """Show a constant's name as words: RESOLVED_OR_GONE as "resolved or gone"."""
    return name.replace("_", " ").lower()
