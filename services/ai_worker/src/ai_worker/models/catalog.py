"""The configured providers by name."""

from __future__ import annotations

from collections.abc import Iterable

from ai_worker.calls.failures import CallError
from ai_worker.models.provider import Provider
from ai_worker.models.scripted import ScriptedProvider
from ai_worker.resources import ProviderResource
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_UNKNOWN_MODEL

_MAX_SHOWN = 80


class Catalog:
    """Resolves models to providers; closes them all at the end."""

    def __init__(self, providers: Iterable[Provider]) -> None:
        self._providers = {provider.name: provider for provider in providers}

    @property
    def names(self) -> list[str]:
        """The providers' names, sorted."""
        return sorted(self._providers)

    def resolve(self, reference: str) -> tuple[Provider, str]:
        """Return the provider of "provider:model", and the model's name.

        Raises:
            CallError: there is no such provider.
        """
        name, _, model = reference.partition(":")
        provider = self._providers.get(name)
        if provider is None or not model:
            shown = " ".join(reference.split())[:_MAX_SHOWN]
            raise CallError(
                FAILURE_REASON_UNKNOWN_MODEL, f"no provider is configured for model {shown!r}"
            )
        return provider, model

    async def close(self) -> None:
        """Close the connections of every provider."""
        for provider in self._providers.values():
            await provider.close()


def build_catalog(resources: Iterable[ProviderResource], max_connections: int) -> Catalog:
    """Return the catalog of the configured providers and the scripted one.

    Each provider opens at most `max_connections` connections.
    """
    providers: list[Provider] = [ScriptedProvider()]
    resources = list(resources)
    if resources:
        # The provider SDKs take seconds to import; an offline worker starts without them.
        from ai_worker.models.http_provider import HttpProvider  # noqa: PLC0415

        providers += [HttpProvider(resource, max_connections) for resource in resources]
    return Catalog(providers)
