"""Evaluates what a run leaves to the activity of a call: whatever names secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from stigma.contracts import json_text, limits
from stigma.contracts.engine_calls import CallRequest, CallResult, DeferredValue
from zigflow_worker.errors import (
    AUTHORIZATION,
    CONFIGURATION,
    EXPRESSION,
    RUNTIME,
    WorkflowError,
)
from zigflow_worker.expressions import (
    JSON,
    ExpressionError,
    compile_expression,
    compile_template,
    keys_read,
)
from zigflow_worker.outgoing.memory import CallMemory
from zigflow_worker.outgoing.secrets import CallSecrets, SecretDirectory
from zigflow_worker.program.encoded_sizes import encoded_size

_ARGUMENTS, _AUTHENTICATION = "arguments", "authentication"
_RESOURCES = ("document", "proto")
"""Arguments that name a document, with an authentication of its own."""
_SECRETS = "secrets"
_SHORTEST_SECRET = 4
"""Characters of what is taken out of an error's text."""

Path = Sequence[str | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedCall:
    """A call as it is made."""

    reference: str
    """JSON pointer of the task."""
    arguments: JSON
    authentication: JSON
    """The policy, references resolved; None: none."""
    secret_paths: Sequence[Path]
    """Parts of the arguments that may hold secrets."""
    secrets: CallSecrets
    """Secrets in the arguments: where they go is to be checked."""
    authentication_secrets: CallSecrets
    """Secrets of the authentication, which reads more of them where its policy names one."""
    resource_secrets: CallSecrets
    """Secrets of the authentication for the document that the arguments name."""
    memory: CallMemory
    """The call's share of its worker's memory."""

    def may_hold_secrets(self, *path: str | int) -> bool:
        """Return whether a part of the arguments, or what is in it or around it, may."""
        return any(
            tuple(secret[: len(path)]) == path[: len(secret)] for secret in self.secret_paths
        )

    def with_request(self, size: int, server: str, *kept: str) -> EvaluatedCall:
        """Return the call as it is once its request is made, of so many bytes, to a server.

        It has none but the arguments named. Whoever keeps no other reference to them frees them;
        from then on others decode.

        Raises:
            RequestWaitsError: there is no memory for it.
        """
        self.memory.hold_request(size, server)
        arguments: Any = self.arguments
        return replace(self, arguments={name: arguments.get(name) for name in kept})


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOutcome:
    """The outcome of a call."""

    output: JSON
    """The task's raw output."""
    authorization: Mapping[str, str] | None = None
    """Scheme and parameter of the credentials it was made with, for `$authorization`."""


class CallEvaluation:
    """The evaluations of one call."""

    def __init__(self, request: CallRequest, directory: SecretDirectory) -> None:
        self._request = request
        self._directory = directory
        self._variables: dict[str, JSON] = dict(request.variables)
        self._secrets = CallSecrets(directory, request.secrets)
        self._authentication_secrets = CallSecrets(directory, request.secrets)
        self._resource_secrets = CallSecrets(directory, request.secrets)
        self._subject: JSON = request.subject

    def evaluate(self, memory: CallMemory) -> EvaluatedCall:
        """Return the call with all its parts evaluated; it reads files and takes CPU.

        Raises:
            WorkflowError: of type `authorization` where a secret is missing, `configuration` where
                what is made of one is null, `expression` where an evaluation fails, in words that
                quote no value, `runtime` where they made too much of it.
        """
        request = self._request
        if request.input_from is not None:
            self._transform_input(request.input_from)
        parts: dict[str, JSON] = {
            _ARGUMENTS: request.arguments,
            _AUTHENTICATION: request.authentication,
        }
        paths: list[Path] = []
        for value in request.deferred:
            if list(value.path[:1]) == [_AUTHENTICATION]:
                put(parts, value.path, self._deferred(value, self._authentication_secrets))
            elif list(value.path[1:2]) == [_AUTHENTICATION] and value.path[0] in _RESOURCES:
                result = self._deferred(value, self._resource_secrets)
                put(parts, (_ARGUMENTS, *value.path), result)
            else:
                put(parts, (_ARGUMENTS, *value.path), self._deferred(value, self._secrets))
                paths.append(tuple(value.path))
        if request.deferred:
            _check_size(parts)
        return EvaluatedCall(
            reference=request.reference,
            arguments=parts[_ARGUMENTS],
            authentication=parts[_AUTHENTICATION],
            secret_paths=paths,
            secrets=self._secrets,
            authentication_secrets=self._authentication_secrets,
            resource_secrets=self._resource_secrets,
            memory=memory,
        )

    def forget(self) -> None:
        """Keep what errors and rules need, and no data: `result` of a request with rules fails."""
        self._request = replace(self._request, arguments=None, subject=None, variables={})
        self._variables = {}
        self._subject = None

    def of_rules(self, request: CallRequest) -> CallEvaluation:
        """Return an evaluation of the same request, decoded again, for `result`."""
        return CallEvaluation(request, self._directory)

    @property
    def has_output_rules(self) -> bool:
        """Whether the result is transformed here, by what reads the request's variables."""
        return self._request.output_as is not None or self._request.export_as is not None

    def result(self, outcome: CallOutcome) -> CallResult:
        """Return the result, transformed where the request has the rules (raises as above)."""
        request = self._request
        if not self.has_output_rules:
            return CallResult(output=outcome.output)
        # As the run has them: `input.from` may have made `$input` of secrets.
        self._variables = dict(request.variables)
        self._variables["authorization"] = dict(outcome.authorization or {})
        task = self._variables.get("task")
        if isinstance(task, dict):
            self._variables["task"] = {**task, "output": outcome.output}
        output, context = outcome.output, None
        if request.output_as is not None:
            output = self._transform("output.as", request.output_as, output)
        if request.export_as is not None:
            self._variables["output"] = output
            context = self._transform("export.as", request.export_as, output)
        return CallResult(output=output, context=context)

    def without_secrets(self, error: WorkflowError) -> WorkflowError:
        """Return an error whose text quotes none of the secrets that were read.

        Names of headers, parameters or methods, and hosts, may have been made of them.
        """
        every = (self._secrets, self._authentication_secrets, self._resource_secrets)
        texts = {text for secrets in every for text in secrets.texts()}
        texts |= {quote(text, safe="") for text in texts}
        long = sorted((text for text in texts if len(text) >= _SHORTEST_SECRET), key=len)
        if not long or "detail" not in error.problem:
            return error
        pattern = "|".join(map(re.escape, reversed(long)))
        detail = re.sub(pattern, "…", str(error.problem["detail"]), flags=re.IGNORECASE)
        return WorkflowError({**error.problem, "detail": detail})

    def _transform_input(self, rule: JSON) -> None:
        for secrets in (
            self._secrets,
            self._authentication_secrets,
            self._resource_secrets,
        ):
            self._read_secrets(rule, secrets)
        self._subject = self._transform("input.from", rule, self._subject)
        self._variables["input"] = self._subject

    def _deferred(self, value: DeferredValue, secrets: CallSecrets) -> JSON:
        names = self._read_secrets(value.template, secrets)
        place = "/".join(["with", *map(str, value.path)])
        result = self._transform(place, value.template, self._subject)
        if result is None and names:
            # A header that is not sent, for instance: the call would go out without its key.
            detail = f"'{place}' is null: has the secret {' or '.join(names)} what it reads?"
            raise WorkflowError.of(CONFIGURATION, detail)
        return result

    def _read_secrets(self, rule: JSON, secrets: CallSecrets) -> list[str]:
        """Have a rule see the secrets that it reads; return their names."""
        names = secrets_in(rule)
        self._variables[_SECRETS] = {name: secrets.value(name) for name in names}
        return names

    def _transform(self, place: str, rule: JSON, subject: JSON) -> JSON:
        return _evaluate(place, rule, subject, self._variables)


def _evaluate(place: str, rule: JSON, subject: JSON, variables: Mapping[str, JSON]) -> JSON:
    known = frozenset(variables)
    try:
        if isinstance(rule, str):
            return compile_expression(rule, known).evaluate(subject, variables)
        return compile_template(rule, known).evaluate(subject, variables)
    except ExpressionError:
        # Its own text quotes values.
        detail = f"the expression in '{place}', which reads secrets or credentials, failed"
        raise WorkflowError.of(EXPRESSION, detail) from None


def _check_size(parts: JSON) -> None:
    """Check data that expressions made here (raises WorkflowError, as for all other data)."""
    most = limits.MAX_PAYLOAD_BYTES
    if encoded_size(parts, most).utf8 > most:
        detail = f"the arguments are larger than {most} bytes, or too deep"
        raise WorkflowError.of(RUNTIME, detail).with_reason("TOO_LARGE")


def secrets_in(rule: JSON) -> list[str]:
    """Return the names of the secrets that expressions read (raises WorkflowError)."""
    texts = [text for text in json_text.values_in(rule) if isinstance(text, str)]
    names = {name for text in texts for name in keys_read(text, _SECRETS)}
    if None in names:
        raise WorkflowError.of(AUTHORIZATION, "secrets are read one by one, by their names")
    return sorted(filter(None, names))


def put(container: Any, path: Iterable[str | int], value: JSON) -> None:
    """Set a part of a value."""
    *parents, last = path
    for key in parents:
        container = container[key]
    container[last] = value
