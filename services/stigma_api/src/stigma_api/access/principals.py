"""Principals: the callers of the API, and their permissions."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stigma.contracts.executions import Kind
from stigma.contracts.globs import matches_any
from stigma_api import errors


class Action(StrEnum):
    """One thing a principal may do."""

    AGENTS_READ = "agents.read"
    AGENTS_APPLY = "agents.apply"
    AGENTS_DELETE = "agents.delete"
    AGENTS_INLINE = "agents.inline"
    WORKFLOWS_READ = "workflows.read"
    WORKFLOWS_APPLY = "workflows.apply"
    WORKFLOWS_DELETE = "workflows.delete"
    WORKFLOWS_INLINE = "workflows.inline"
    EXECUTIONS_START = "executions.start"
    EXECUTIONS_READ = "executions.read"
    EXECUTIONS_CANCEL = "executions.cancel"
    EXECUTIONS_APPROVE = "executions.approve"
    """See and answer what executions of agents within reach wait for, whoever started them."""
    ADMIN = "admin"
    """Everything, and other principals' executions too."""


_ORDINARY = frozenset(
    {
        Action.AGENTS_READ,
        Action.WORKFLOWS_READ,
        Action.EXECUTIONS_START,
        Action.EXECUTIONS_READ,
        Action.EXECUTIONS_CANCEL,
    }
)


class PrincipalsError(Exception):
    """The principals file cannot be used; one line, naming file and place."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason
        """Without the file."""


class Principal(BaseModel):
    """One caller of the API."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._@:/-]+$")]
    key_sha256: Sequence[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = ()
    """SHA-256 of each API key, in hex. Several, so that keys can be rotated."""
    certificates: Sequence[str] = ()
    """Common name or DNS/URI alternative name of each client certificate."""
    actions: frozenset[Action] = _ORDINARY
    agents: Sequence[str] = ("*",)
    """Globs of the agents' names."""
    workflows: Sequence[str] = ("*",)
    """Globs of the registered workflows' names."""
    callback_namespaces: Sequence[str] = ()
    """Temporal namespaces, other than Stigma's own, in which this principal's activities wait."""
    workflow_id_prefixes: Sequence[str] = ("",)
    """Workflows whose activities may wait."""
    callbacks_enabled: bool = True

    @field_validator("key_sha256", mode="before")
    @classmethod
    def _lower(cls, hashes: Any) -> Any:
        if not isinstance(hashes, list | tuple):
            return hashes
        return [h.lower() if isinstance(h, str) else h for h in hashes]

    @property
    def is_admin(self) -> bool:
        """True for a principal that sees the executions of others."""
        return Action.ADMIN in self.actions

    def may_see(self, owner: str) -> bool:
        """Return whether executions started by the principal of this name are visible."""
        return self.is_admin or owner == self.name

    def may(self, action: Action) -> bool:
        """Return whether the action is allowed at all."""
        return self.is_admin or action in self.actions

    def require(self, action: Action) -> None:
        """Raise PERMISSION_DENIED unless the action is allowed."""
        if not self.may(action):
            raise errors.permission_denied(f"principal {self.name} lacks the permission {action}")

    def may_use(self, kind: Kind, name: str) -> bool:
        """Return whether the agent or workflow of this name is within reach."""
        globs = self.agents if kind is Kind.AGENT else self.workflows
        return self.is_admin or matches_any(name, globs)

    def require_use(self, kind: Kind, name: str) -> None:
        """Raise PERMISSION_DENIED unless the agent or workflow of this name is within reach."""
        if not self.may_use(kind, name):
            raise errors.permission_denied(f"principal {self.name} may not use {kind} {name}")

    def may_answer(self, agent: str) -> bool:
        """Return whether what executions of an agent wait for may be seen and answered."""
        return self.may(Action.EXECUTIONS_APPROVE) and self.may_use(Kind.AGENT, agent)

    def may_call_back(self, workflow_id: str) -> bool:
        """Return whether an activity of this workflow may wait."""
        return any(workflow_id.startswith(prefix) for prefix in self.workflow_id_prefixes)


LOCAL = Principal(name="local", actions=frozenset(Action), callback_namespaces=("*",))
"""The caller of a server without authentication, which listens on loopback only."""


class _PrincipalsFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    principals: Sequence[Principal]


class Principals:
    """Every principal, found by its key, certificate or name."""

    def __init__(self, principals: Iterable[Principal], *, any_certificate: bool = False) -> None:
        """Hold the principals.

        Args:
            principals: with unique names, keys and certificates.
            any_certificate: a certificate that is not listed stands for a principal of its own
                name (used when there is no principals file, only a client CA).
        """
        self._principals = tuple(principals)
        self._any_certificate = any_certificate

    @classmethod
    def load(cls, path: Path) -> Principals:
        """Read the file.

        Raises:
            PrincipalsError: it cannot be read or is invalid.
        """
        try:
            return cls.parse(path.read_bytes(), path)
        except OSError as error:
            raise PrincipalsError(path, str(error.strerror)) from None

    @classmethod
    def parse(cls, text: bytes, path: Path) -> Principals:
        """Read the content of a file.

        Args:
            text: the content.
            path: named in errors.

        Raises:
            PrincipalsError: it is invalid. No value is quoted: it may be a key.
        """
        try:
            content = YAML(typ="safe", pure=True).load(text.decode())
            principals = _PrincipalsFile.model_validate(content).principals
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            at = ".".join(str(part) for part in first["loc"])
            raise PrincipalsError(path, f"{at}: {first['msg']}") from None
        except (YAMLError, ValueError, RecursionError) as error:
            raise PrincipalsError(path, f"is no YAML{_place(error)}") from None
        for what in ("name", "key_sha256", "certificates"):
            if repeated := _repeated(principals, what):
                shown = "a key" if what == "key_sha256" else repeated
                raise PrincipalsError(path, f"{what}: {shown} is given twice")
        return cls(principals)

    @property
    def count(self) -> int:
        """Number of principals."""
        return len(self._principals)

    def replace(self, others: Principals) -> bool:
        """Become what others are, for all who hold these; return whether that changes any."""
        changed = self._principals != others._principals
        self._principals = others._principals
        return changed

    def by_key(self, key: str) -> Principal | None:
        """Return the principal of an API key, in a time that does not depend on the keys."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        found = None
        for principal in self._principals:
            for known in principal.key_sha256:
                if hmac.compare_digest(known, digest):
                    found = principal
        return found

    def by_name(self, name: str) -> Principal | None:
        """Return the principal of this name, if the file lists it."""
        return next((one for one in self._principals if one.name == name), None)

    def by_certificate(self, names: Sequence[str]) -> Principal | None:
        """Return the principal of a verified client certificate with one of these names."""
        for principal in self._principals:
            if any(name in principal.certificates for name in names):
                return principal
        if self._any_certificate and names:
            return _named(names[0])
        return None


def _named(name: str) -> Principal | None:
    try:
        return Principal(name=name, actions=frozenset(Action) - {Action.ADMIN})
    except ValidationError:
        return None


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}" if mark is not None else ""


def _repeated(principals: Sequence[Principal], what: str) -> str | None:
    seen = set()
    for principal in principals:
        value = getattr(principal, what)
        for item in [value] if isinstance(value, str) else value:
            if item in seen:
                return str(item)
            seen.add(item)
    return None
