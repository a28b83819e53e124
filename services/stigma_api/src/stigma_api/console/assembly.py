"""Assembly of the console."""

from __future__ import annotations

from datetime import UTC

from stigma.runtime import Readiness
from stigma_api.access.principals import Principals
from stigma_api.console.access import Access
from stigma_api.console.api import Api
from stigma_api.console.app import application
from stigma_api.console.definition_pages import DefinitionPages
from stigma_api.console.execution_actions import ExecutionActions
from stigma_api.console.execution_changes import ExecutionChanges
from stigma_api.console.execution_list import ExecutionList
from stigma_api.console.inbox import InboxPages
from stigma_api.console.live_pages import LivePages
from stigma_api.console.pages import Pages
from stigma_api.console.rendering import Assets, TemplateRenderer, TemporalUi
from stigma_api.console.routes import page_routes
from stigma_api.console.session_pages import SessionPages
from stigma_api.console.shared_streams import SharedStreams
from stigma_api.console.signed_in_pages import SignedInPages
from stigma_api.http_server import ConsoleServer
from stigma_api.services import Services
from stigma_api.settings import ApiSettings


def console(
    services: Services,
    readiness: Readiness,
    *,
    settings: ApiSettings,
    principals: Principals | None,
    namespace: str,
) -> ConsoleServer:
    """Return the console's server.

    Args:
        services: called for what pages show.
        readiness: gets the check `console`.
        settings: of the service; with certificate and key the console is served over TLS as well.
        principals: as of the API.
        namespace: the Temporal namespace Stigma runs in.
    """
    access = Access(principals, settings.console_session_secret.get_secret_value())
    assets, shared = Assets(), SharedStreams()
    templates = TemplateRenderer(assets, asks_for_key=access.asks_for_key, utc=UTC)
    api = Api(
        services, max_calls=settings.api_max_in_flight, call_timeout=settings.api_call_timeout
    )
    ui = TemporalUi(settings.console_temporal_ui_url, namespace)
    signed_in, live = SignedInPages(api, templates), LivePages(shared)
    inbox = InboxPages(api, templates, signed_in, live)
    pages = Pages(api, templates, ui, pages=signed_in, live=live, inbox=inbox)
    executions = ExecutionList(api, templates, signed_in, live)
    routes = page_routes(
        pages,
        executions=executions,
        actions=ExecutionActions(api, ExecutionChanges(services, api), signed_in),
        inbox=inbox,
        definitions=DefinitionPages(api, signed_in, executions),
        sessions=SessionPages(api, signed_in, executions),
    )
    tls = None
    if settings.api_tls_cert is not None and settings.api_tls_key is not None:
        tls = settings.api_tls_cert, settings.api_tls_key
    return ConsoleServer(
        readiness,
        application(access, routes, templates, assets, timeout=settings.api_call_timeout),
        host=settings.console_host,
        port=settings.console_port,
        tls=tls,
        end_streams=shared.close,
    )
