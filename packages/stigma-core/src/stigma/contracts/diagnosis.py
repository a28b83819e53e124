"""Names of the reasons why an execution is stuck."""

from __future__ import annotations

from stigma.diagnosis.v1.diagnosis_service_pb2 import StuckReason


def stuck_reason_name(reason: StuckReason.ValueType) -> str:
    """Return a reason without its prefix, for instance "NO_WORKER"; its number where unnamed.

    A later release may send a number that this one has no name for.
    """
    if reason not in StuckReason.values():
        return str(reason)
    return StuckReason.Name(reason).removeprefix("STUCK_REASON_")
