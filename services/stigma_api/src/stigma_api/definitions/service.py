"""The registry for principals: what each may apply, read and delete."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, TypeAlias

from stigma.contracts import limits
from stigma_api import errors
from stigma_api.access.principals import Action, Principal
from stigma_api.definitions.registry import Registry, Version, digested
from stigma_api.kinds import D
from stigma_api.requests import validation
from stigma_api.requests.violations import Violations

# Names alone are short: definitions out of reach cost little, however many they are.
_NAMES_AT_A_TIME = 1000
_DEFINITIONS_AT_A_TIME = 20
# Violations from which on no check by others follows: an answer tells no more.
_MOST_VIOLATIONS = 100

_CheckFurther: TypeAlias = Callable[[Principal, D, Violations], Awaitable[None]]


class DefinitionService(Generic[D]):
    """Serves the definitions of one kind."""

    def __init__(
        self,
        registry: Registry[D],
        rules: Callable[[D], None],
        check_further: _CheckFurther[D] | None = None,
    ) -> None:
        """Serve a registry.

        Args:
            registry: of these definitions.
            rules: raise for a malformed definition.
            check_further: checks one that the principal may apply for what else it needs, beside
                what the rules refuse of it, and adds what is listed elsewhere.
        """
        self._registry: Registry[D] = registry
        self._kind = registry.kind
        self._rules: Callable[[D], None] = rules
        self._check_further: _CheckFurther[D] | None = check_further

    async def apply(self, principal: Principal, definition: D, *, validate_only: bool) -> D:
        """Register a definition, or a new version of it.

        Raises:
            ApiError: INVALID_ARGUMENT, with all that can be known to be wrong with it; others, for
                which see the checks.
        """
        self._require(principal, "apply")
        found = Violations()
        with found.collecting():
            self._rules(definition)
        if not found:
            principal.require_use(self._kind, definition.name)
        if principal.may_use(self._kind, definition.name):
            await self._add_further(principal, definition, found)
        found.raise_if_any()
        if validate_only:
            return digested(definition)
        return await self._registry.apply(definition, principal.name)

    async def _add_further(self, principal: Principal, definition: D, found: Violations) -> None:
        """Add what other services refuse; nothing where the rules refuse very much, or the size."""
        is_much = len(found) >= _MOST_VIOLATIONS or found.has(f"{self._kind}.spec")
        if self._check_further is not None and not is_much:
            with found.collecting():
                await self._check_further(principal, definition, found)

    async def get(self, principal: Principal, definition_id: str) -> D:
        """Return one version."""
        self._require(principal, "read")
        name, version = validation.name_and_version("id", definition_id)
        principal.require_use(self._kind, name)
        found = await self._registry.get(name, version)
        if found is None:
            raise errors.not_found(f"{self._kind} {definition_id}")
        return found

    async def versions(self, principal: Principal, name: str, *, size: int) -> list[Version]:
        """Return up to `size` versions of a definition, the newest first; none: there is none."""
        self._require(principal, "read")
        principal.require_use(self._kind, name)
        return await self._registry.versions(name, size)

    async def page(self, principal: Principal, *, size: int, token: str) -> tuple[list[D], str]:
        """Return a page of definitions within the principal's reach, and the next page's token.

        It need not be full: it must fit into one message of any client.
        """
        self._require(principal, "read")
        size = validation.page_size(size)
        after = validation.definitions_page(token)
        names = await self._visible(principal, after, size + 1)
        page: list[D] = []
        content = 0
        async for definition in self._newest(names[:size]):
            content += definition.ByteSize()
            if page and content > limits.MAX_PAGE_BYTES:
                return page, page[-1].name
            page.append(definition)
        # The last name shown: a token tells nothing of definitions out of reach.
        return page, names[size - 1] if len(names) > size else ""

    async def delete(self, principal: Principal, name: str) -> None:
        """Delete all versions."""
        self._require(principal, "delete")
        name, version = validation.name_and_version("name", name)
        if version is not None:
            raise errors.invalid_argument(
                [("name", "versions are not deleted one by one: give the name")]
            )
        principal.require_use(self._kind, name)
        if not await self._registry.delete(name):
            raise errors.not_found(f"{self._kind} {name}")

    def _require(self, principal: Principal, verb: str) -> None:
        principal.require(Action(f"{self._kind}s.{verb}"))

    async def _visible(self, principal: Principal, after: str, size: int) -> list[str]:
        """Return up to `size` names after one, as far as they are within reach."""
        found: list[str] = []
        while len(found) < size:
            names = await self._registry.names(after, _NAMES_AT_A_TIME)
            found += [name for name in names if principal.may_use(self._kind, name)]
            if len(names) < _NAMES_AT_A_TIME:
                break
            after = names[-1]
        return found[:size]

    async def _newest(self, names: Sequence[str]) -> AsyncIterator[D]:
        for first in range(0, len(names), _DEFINITIONS_AT_A_TIME):
            for found in await self._registry.newest(names[first : first + _DEFINITIONS_AT_A_TIME]):
                yield found
