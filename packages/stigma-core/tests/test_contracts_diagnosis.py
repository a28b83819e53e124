"""Names of the reasons why an execution is stuck."""

from __future__ import annotations

from stigma.contracts.diagnosis import stuck_reason_name
from stigma.diagnosis.v1.diagnosis_service_pb2 import STUCK_REASON_NO_WORKER, StuckExecution


def test_a_reason_has_its_name_and_one_of_a_later_release_its_number() -> None:
    assert stuck_reason_name(STUCK_REASON_NO_WORKER) == "NO_WORKER"
    later = StuckExecution(reason=99)  # type: ignore[arg-type] # as it arrives over the wire
    assert stuck_reason_name(later.reason) == "99"
