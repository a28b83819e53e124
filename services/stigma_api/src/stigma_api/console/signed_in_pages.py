"""Pages of those who are signed in: what all of them share is the navigation."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from stigma_api.access.principals import Action, Principal
from stigma_api.console.api import Api
from stigma_api.console.rendering import TemplateRenderer
from stigma_api.errors import ApiError

# Age of a count at which it is counted again.
_COUNT_SECONDS = 5.0
_MAX_COUNTS = 1000


@dataclass(frozen=True)
class _Count:
    text: str
    expires: float


class SignedInPages:
    """Renders pages with the navigation, and how many inputs wait for the principal."""

    def __init__(self, api: Api, templates: TemplateRenderer) -> None:
        self._api = api
        self._templates = templates
        self._counts: dict[str, _Count] = {}

    async def page(
        self, request: Request, name: str, status_code: int = 200, **values: Any
    ) -> Response:
        """Render a whole page."""
        principal = principal_of(request)
        return self._templates.page(
            name,
            status_code,
            principal=principal,
            path=request.url.path,
            inbox_count=await self._inbox_count(principal),
            **values,
        )

    async def _inbox_count(self, principal: Principal) -> str:
        """Return how many inputs wait for the principal; "" for none, or where nobody can say."""
        if not (principal.may(Action.EXECUTIONS_APPROVE) or principal.may(Action.EXECUTIONS_READ)):
            return ""
        now = time.monotonic()
        known = self._counts.get(principal.name)
        if known is not None and known.expires > now:
            return known.text
        try:
            inbox = await self._api.inbox(principal)
        except ApiError:
            return ""  # what the page is about says it, if it fails as well
        text = f"{len(inbox.inputs)}{'+' if inbox.has_more else ''}" if inbox.inputs else ""
        if len(self._counts) >= _MAX_COUNTS:
            self._counts.clear()
        self._counts[principal.name] = _Count(text, now + _COUNT_SECONDS)
        return text

    def forget_count(self, principal: Principal) -> None:
        """Count again: the principal has answered one."""
        self._counts.pop(principal.name, None)


def principal_of(request: Request) -> Principal:
    """Return who is signed in."""
    principal: Principal = request.state.principal
    return principal
