"""The policy of callback tokens: their content, and the permissions of their sender.

A token is an address, not a credential: nothing here proves that its sender owns the activity, so
principals are held to namespaces and workflow-id prefixes. No line here quotes a token.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from prometheus_client import CollectorRegistry, Counter

from stigma.contracts import tokens
from stigma.internal.v1.task_token_pb2 import TaskToken
from stigma_api import errors
from stigma_api.access.principals import Principal
from stigma_api.kinds import StartRequest
from stigma_api.temporal.namespace import Namespace

# Slack for clocks that differ: a caller's deadline may be as long as the retention.
_DEADLINE_SLACK = timedelta(minutes=1)

ERROR_TYPES = (
    "cancel_requested",
    "failed_precondition",
    "invalid_argument",
    "not_found",
    "permission_denied",
)
"""Reasons to refuse a token: gRPC codes in lower case, and a caller's cancel."""


class CallbackTokenPolicy:
    """Accepts or refuses callback tokens.

    Args:
        namespace: where executions live.
        name: its name.
        registry: for the count of refused tokens.
        enabled: off for a phased rollout.
    """

    def __init__(
        self, namespace: Namespace, name: str, registry: CollectorRegistry, *, enabled: bool
    ) -> None:
        self._namespace = namespace
        self._name = name
        self._enabled = enabled
        self._errors = Counter(
            "external_activity_errors_total",
            "Callback tokens refused, by what was wrong with them. The orchestrator counts tries "
            "to deliver by this name: ask for one job.",
            ["error_type"],
            registry=registry,
        )
        for error_type in ERROR_TYPES:  # so that the first one of a kind is an increase too
            self._errors.labels(error_type)
        self._log = structlog.get_logger()

    def check(self, principal: Principal, request: StartRequest) -> TaskToken | None:
        """Return the content of the request's token, or None when there is none.

        Raises:
            ApiError: INVALID_ARGUMENT, it is not a token, or not that of the declared caller;
                FAILED_PRECONDITION, callbacks are off; PERMISSION_DENIED, this principal may not
                have an activity wait there.
        """
        namespace = request.caller.namespace or self._name
        if namespace != self._name and not {namespace, "*"} & set(principal.callback_namespaces):
            raise errors.permission_denied(
                f"principal {principal.name} may not be called back in namespace {namespace}"
            )
        if not request.callback_token:
            return None
        token = _parse(request)
        self._authorise(principal, token)
        return token

    async def check_deadline(self, deadline: datetime, now: datetime) -> None:
        """Check that the deadline is ahead, and that the outcome is kept until then.

        Raises:
            ApiError: FAILED_PRECONDITION; with the fix.
        """
        if deadline <= now:
            raise errors.failed_precondition("CALLER_TIMED_OUT", "the caller's deadline has passed")
        retention = await self._namespace.retention()
        # A namespace without retention keeps everything.
        if retention and deadline - now > retention + _DEADLINE_SLACK:
            raise errors.failed_precondition(
                "RETENTION_TOO_SHORT",
                f"the caller waits up to {_hours(deadline - now)}, but namespace {self._name} "
                f"keeps executions {_hours(retention)}: raise its retention (`stigma setup "
                "--raise-retention`) or lower the caller's schedule-to-close timeout",
            )

    def record_rejection(self, request: StartRequest, request_id: str, error_type: str) -> None:
        """Count and log a refused token."""
        self._errors.labels(error_type).inc()
        self._log.warning(
            "token_rejected",
            error_type=error_type,
            request_id=request_id,
            workflow_id=request.caller.workflow_id,
            run_id=request.caller.run_id,
            activity_id=request.caller.activity_id,
            callback_fingerprint=tokens.fingerprint(request.callback_token),
            token_length=len(request.callback_token),
        )

    def _authorise(self, principal: Principal, token: TaskToken) -> None:
        if not (self._enabled and principal.callbacks_enabled):
            raise errors.failed_precondition(
                "CALLBACKS_DISABLED",
                "callback tokens are not accepted here yet: start without one, or have "
                "callbacks enabled",
            )
        if not principal.may_call_back(token.workflow_id):
            raise errors.permission_denied(
                f"principal {principal.name} may not be called back in workflow {token.workflow_id}"
            )


def _parse(request: StartRequest) -> TaskToken:
    try:
        token = tokens.parse(request.callback_token)
    except tokens.InvalidTokenError as error:
        raise errors.invalid_argument([("callback_token", str(error))]) from None
    for part in ("workflow_id", "run_id", "activity_id"):
        declared, actual = getattr(request.caller, part), getattr(token, part)
        if declared and actual and declared != actual:
            raise errors.invalid_argument([(f"caller.{part}", "is not the callback token's")])
    return token


def _hours(duration: timedelta) -> str:
    return f"{duration.total_seconds() / 3600:.1f} h"
