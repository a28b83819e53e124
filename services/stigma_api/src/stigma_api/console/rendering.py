"""Templates, static files, and links into Temporal's UI. All values in templates are escaped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from stigma.contracts.costs import cost_text

_HERE = Path(__file__).parent
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_IMMUTABLE = "public, max-age=31536000, immutable"


class TemplateRenderer:
    """Renders pages and parts of pages.

    Args:
        assets: the static files that pages link to.
        constants: values that every template has.
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
            "utc_time": format_time,
            "duration": format_duration,
            "count": format_count,
            "cost": cost_text,
            "words": constant_words,
        }

    def page(self, name: str, status_code: int = 200, **values: Any) -> HTMLResponse:
        """Render a whole page."""
        return HTMLResponse(self.part(name, **values), status_code)

    def part(self, name: str, **values: Any) -> str:
        """Render a template."""
        return self._environment.get_template(name).render(**values)


class Assets:
    """The static files, held in memory; their addresses change with their content."""

    def __init__(self) -> None:
        self._files = {path.name: path.read_bytes() for path in (_HERE / "static").iterdir()}
        self._versions = {
            name: hashlib.sha256(content).hexdigest()[:12] for name, content in self._files.items()
        }

    def url(self, name: str) -> str:
        """Return a file's path, with its version."""
        return f"/static/{name}?v={self._versions[name]}"

    def response(self, name: str, query: Mapping[str, str]) -> Response | None:
        """Return the response with a file; None when there is none of this name."""
        content = self._files.get(name)
        if content is None:
            return None
        # During an upgrade a page of one release may ask a pod of another.
        current = query.get("v") == self._versions[name]
        caching = {"Cache-Control": _IMMUTABLE if current else "no-cache"}
        return Response(content, media_type=_TYPES[Path(name).suffix], headers=caching)


class TemporalUi:
    """Links into Temporal's own web UI.

    Args:
        url: of the UI; empty: there are no links.
        namespace: the one that Stigma runs in.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self._url = url.rstrip("/")
        self._namespace = namespace

    def workflow(self, workflow_id: str, run_id: str = "", namespace: str = "") -> str:
        """Return the URL of a workflow, or of one run; empty without a UI or a workflow."""
        if not self._url or not workflow_id:
            return ""
        parts = [namespace or self._namespace, "workflows", workflow_id]
        parts += [run_id, "history"] if run_id else []
        return f"{self._url}/namespaces/{'/'.join(quote(part, safe='') for part in parts)}"


def format_time(time: datetime) -> str:
    """Format a time to the second, in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def format_duration(duration: timedelta) -> str:
    """Format a duration by its two largest units; below a minute, with two digits or three."""
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


def format_count(number: int) -> str:
    """Format a number with thousands separators."""
    return f"{number:,}"


def constant_words(name: str) -> str:
    """Format a constant's name as words: RESOLVED_OR_GONE as "resolved or gone"."""
    return name.replace("_", " ").lower()
