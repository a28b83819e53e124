"""Observation of an activity's call: log lines, and the outcome to count and trace."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from temporalio import activity

from ai_worker.calls.failures import CallError
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_INTERNAL
from stigma.contracts.errors import reason_name

SUCCESS = "SUCCESS"
CANCELLED = "CANCELLED"


class ObservedCall(ABC):
    """One call, which logs `NAME_started` and then `NAME_completed` or `NAME_failed`."""

    def __init__(self, name: str, logger: Any, **fields: Any) -> None:
        """Prepare the observation; `fields` are in every log line."""
        info = activity.info()
        self._name = name
        self._logger = logger.bind(
            **fields,
            workflow_id=info.workflow_id,
            run_id=info.workflow_run_id,
            activity_id=info.activity_id,
            attempt=info.attempt,
        )

    @contextmanager
    def observed(self) -> Iterator[None]:
        """Observe the body.

        Raises:
            CallError: the body's own, or for any other exception: its text may quote content, so
                only the name of its class leaves this process.
        """
        started = time.monotonic()
        self._logger.info(f"{self._name}_started")
        try:
            yield
        except CallError as error:
            self._failed(reason_name(error.reason), time.monotonic() - started, error)
            raise
        except asyncio.CancelledError:
            self._failed(CANCELLED, time.monotonic() - started)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a bug of ours
            bug = CallError(FAILURE_REASON_INTERNAL, f"unexpected {type(error).__name__}")
            self._failed(reason_name(bug.reason), time.monotonic() - started, bug)
            raise bug from None
        else:
            self._completed(time.monotonic() - started)

    @abstractmethod
    def ended(self, outcome: str, seconds: float) -> None:
        """Count and trace the end: SUCCESS, CANCELLED or the name of a failure reason."""

    @abstractmethod
    def usage_fields(self) -> Mapping[str, Any]:
        """Return the log fields of what a completed call used."""

    def _completed(self, seconds: float) -> None:
        self.ended(SUCCESS, seconds)
        self._logger.info(
            f"{self._name}_completed", duration_seconds=round(seconds, 6), **self.usage_fields()
        )

    def _failed(self, outcome: str, seconds: float, error: CallError | None = None) -> None:
        self.ended(outcome, seconds)
        self._logger.warning(
            f"{self._name}_failed",
            duration_seconds=round(seconds, 6),
            reason=outcome,
            error=error.message if error else "cancelled",
            retryable=bool(error and error.retryable),
        )
