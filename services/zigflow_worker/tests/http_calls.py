"""Calls of `call: http` without a run around them."""

from __future__ import annotations

from typing import Any

from zigflow_worker.activities.call_evaluation import EvaluatedCall
from zigflow_worker.activities.http_call import HttpCall
from zigflow_worker.outgoing.client import HttpClient, HttpLimits
from zigflow_worker.outgoing.memory import CallMemory, MemoryBudget
from zigflow_worker.outgoing.messages import HttpSender
from zigflow_worker.outgoing.policy import OutgoingPolicy
from zigflow_worker.outgoing.secrets import CallSecrets, SecretDirectory

LOOPBACK = ("127.0.0.0/8", "::1")


def unauthenticated(_call: EvaluatedCall, _sender: HttpSender) -> None:
    """Make calls without credentials."""


def new_client(policy: OutgoingPolicy | None = None, **limits: Any) -> HttpClient:
    """Return a client that may reach this machine, or what its policy allows."""
    return HttpClient(policy or OutgoingPolicy(LOOPBACK), HttpLimits(**limits))


def evaluated(
    arguments: dict[str, Any],
    *,
    secret_paths: Any = (),
    secrets: CallSecrets | None = None,
    memory: CallMemory | None = None,
) -> EvaluatedCall:
    """Return a call whose arguments are evaluated."""
    none = CallSecrets(SecretDirectory(None), ())
    return EvaluatedCall(
        reference="/do/0/call",
        arguments=arguments,
        authentication=None,
        secret_paths=secret_paths,
        secrets=secrets or none,
        authentication_secrets=none,
        resource_secrets=none,
        memory=memory or MemoryBudget().new_call(),
    )


async def make(client: HttpClient, method: str = "get", **arguments: Any) -> Any:
    """Return the output of a call."""
    call = evaluated({"method": method, **arguments})
    return (await HttpCall(client, unauthenticated).call(call)).output
