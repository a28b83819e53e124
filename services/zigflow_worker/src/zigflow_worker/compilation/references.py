"""Compiles what names another part of the document: authentications, errors, secrets, timeouts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from zigflow_worker.compilation.call_rules import SECRETS, expressions_in
from zigflow_worker.compilation.scope import CompileScope, Variables
from zigflow_worker.compilation.values import ValueCompiler
from zigflow_worker.definition import (
    UNREAD,
    ConsequenceError,
    DurationDefinition,
    ErrorDefinition,
    Node,
    NodeError,
    ProblemList,
    RetryDefinition,
    WorkflowDefinition,
    read_authentication,
)
from zigflow_worker.durations import meant_duration
from zigflow_worker.expressions import keys_read
from zigflow_worker.loading import SourceDocument
from zigflow_worker.program.formulas import DurationFormula

T = TypeVar("T")


class ReferenceCompiler(ValueCompiler):
    """Finds what parts of a document name in its `use`."""

    def __init__(
        self,
        definition: WorkflowDefinition,
        source: SourceDocument,
        every: ProblemList | None = None,
    ) -> None:
        super().__init__(source, every)
        self._definition = definition

    def authentication(self, node: Node) -> Node:
        """Return the policy of an authentication, which may be the name of a reusable one."""
        with self.part():
            policy = read_authentication(node)
            if isinstance(policy, Node):
                known = self._definition.authentications
                policy = self._referenced(policy, known, "authentications")
            if policy.secret is not None:
                self.check_secret(policy.secret, policy.secret.text())
            return policy.node
        return Node({}, node.pointer)

    def error(self, reference: ErrorDefinition | Node) -> ErrorDefinition:
        """Return an error given inline or by the name of a reusable one."""
        if isinstance(reference, ErrorDefinition):
            return reference
        return self._referenced(reference, self._definition.errors, "errors")

    def retry(self, reference: RetryDefinition | Node) -> RetryDefinition:
        """Return a retry policy given inline or by the name of a reusable one."""
        if isinstance(reference, RetryDefinition):
            return reference
        return self._referenced(reference, self._definition.retries, "retries")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the secrets that the document declares."""
        return self._definition.secrets

    def check_secrets(self, node: Node) -> None:
        """Check the secrets that an expression, or those in a value, read by name."""
        parts = [node] if isinstance(node.value, str) else expressions_in(node)
        for part in parts:
            for name in keys_read(part.text(), SECRETS):
                self.check_secret(part, name)

    def check_secret(self, node: Node, name: str | None) -> None:
        """Check that a secret that a part of the document uses is declared; None: all of them."""
        with self.part():
            if name is None:
                problem = "expected '$secrets.NAME': which secrets go out must be written down"
                raise node.error(problem)
            if name not in self.secrets and "secrets" not in self._definition.unread:
                raise NodeError(
                    f"the secret '{name}' is not declared in 'use.secrets'",
                    node.pointer,
                    word=name,
                    known=self.secrets,
                )

    def optional_timeout(
        self, timeout: DurationDefinition | Node | None, variables: Variables, scope: CompileScope
    ) -> DurationFormula | None:
        """Compile a timeout, or the name of a reusable one; it may be absent."""
        if timeout is None:
            return None
        with self.part():
            if isinstance(timeout, Node):
                timeout = self._reusable_timeout(timeout)
            return self.duration(timeout, scope, variables)
        return None

    def _reusable_timeout(self, node: Node) -> DurationDefinition:
        name = node.text()
        meant = "" if name in self._definition.timeouts else meant_duration(name)
        if meant:
            raise node.error(f"expected {{after: {meant}}}, or the name of one of 'use.timeouts'")
        return self._referenced(node, self._definition.timeouts, "timeouts")

    def _referenced(self, node: Node, known: Mapping[str, T], section: str) -> T:
        """Return what a part names (raises NodeError)."""
        name = node.text()
        if section in self._definition.unread or known.get(name) is UNREAD:
            raise ConsequenceError(f"'{name}' is not known", node.pointer)
        if name not in known:
            raise node.error(f"'{name}' is not defined in 'use.{section}'", known=known)
        return known[name]
