"""The addresses of the pages for those who are signed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stigma_api.access.audit import Effect
from stigma_api.console.audit import Handler
from stigma_api.console.definition_pages import DefinitionPages
from stigma_api.console.execution_actions import ExecutionActions
from stigma_api.console.execution_list import ExecutionList
from stigma_api.console.inbox import InboxPages
from stigma_api.console.pages import Pages
from stigma_api.console.session_pages import SessionPages


@dataclass(frozen=True)
class PageRoute:
    """A path, and what handles its requests."""

    path: str
    handler: Handler
    effect: Effect | None = None
    """For the audit log: a page with content is read, a form changes something."""

    @property
    def method(self) -> str:
        """The HTTP method: forms are sent by POST."""
        return "POST" if self.effect is Effect.MUTATION else "GET"


def page_routes(
    pages: Pages,
    *,
    executions: ExecutionList,
    actions: ExecutionActions,
    inbox: InboxPages,
    definitions: DefinitionPages,
    sessions: SessionPages,
) -> Sequence[PageRoute]:
    """Return the routes."""
    return [
        PageRoute("/", pages.home),
        PageRoute("/executions", executions.show),
        PageRoute("/executions/{id}", pages.execution, Effect.READ),
        PageRoute("/executions/{id}/cancel", actions.confirm_cancel),
        PageRoute("/executions/{id}/cancel", actions.cancel, Effect.MUTATION),
        PageRoute("/executions/{id}/again", actions.confirm_repeat, Effect.READ),
        PageRoute("/executions/{id}/again", actions.repeat, Effect.MUTATION),
        PageRoute("/executions/{id}/inputs/{input}", inbox.show, Effect.READ),
        PageRoute("/executions/{id}/inputs/{input}", inbox.answer, Effect.MUTATION),
        PageRoute("/inbox", inbox.inbox, Effect.READ),
        PageRoute("/sessions", sessions.sessions),
        PageRoute("/session", sessions.session, Effect.READ),
        PageRoute("/events/inbox", inbox.inbox_stream, Effect.READ),
        PageRoute("/events/executions", executions.stream),
        PageRoute("/events/executions/{id}", pages.execution_stream, Effect.READ),
        PageRoute("/agents", definitions.agents),
        PageRoute("/agents/{name}", definitions.agent),
        PageRoute("/workflows", definitions.workflows),
        PageRoute("/workflows/{name}", definitions.workflow),
        PageRoute("/stuck", pages.stuck),
    ]
