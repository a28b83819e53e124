"""Search attributes of executions. A missing one fails every start: `stigma setup` adds them."""

from __future__ import annotations

from typing import Any

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.common import SearchAttributeKey

AGENT = SearchAttributeKey.for_keyword("StigmaAgent")
WORKFLOW = SearchAttributeKey.for_keyword("StigmaWorkflow")
PRINCIPAL = SearchAttributeKey.for_keyword("StigmaPrincipal")
SESSION = SearchAttributeKey.for_keyword("StigmaSession")
LABELS = SearchAttributeKey.for_keyword_list("StigmaLabels")
PHASE = SearchAttributeKey.for_keyword("StigmaPhase")
CALLBACK = SearchAttributeKey.for_keyword("StigmaCallback")
"""`WAITING` from the start of an execution that a caller waits for; absent otherwise."""
START_TIME = SearchAttributeKey.for_datetime("StigmaStartTime")
"""Time at which an execution was accepted: Temporal's own start time is that of the newest run."""
WARN_TIME = SearchAttributeKey.for_datetime("StigmaWarnTime")
"""Time at which `limits.WARN_AFTER` of the time from start to deadline is over."""
WAITING_SINCE = SearchAttributeKey.for_datetime("StigmaWaitingSince")
"""Time of the oldest input that an execution waits for from people; absent while there is none."""
ROOT = SearchAttributeKey.for_keyword("StigmaRoot")
"""Id of the execution that was started, on those of agents below it."""
PARENT = SearchAttributeKey.for_keyword("StigmaParent")
"""Id of the execution whose tool call this one is."""

CALLBACK_WAITING = "WAITING"

ALL: tuple[SearchAttributeKey[Any], ...] = (
    AGENT,
    WORKFLOW,
    PRINCIPAL,
    SESSION,
    LABELS,
    PHASE,
    CALLBACK,
    START_TIME,
    WARN_TIME,
    WAITING_SINCE,
    ROOT,
    PARENT,
)

INDEXED_VALUE_TYPES: dict[str, IndexedValueType.ValueType] = {
    key.name: IndexedValueType.ValueType(key.indexed_value_type) for key in ALL
}
