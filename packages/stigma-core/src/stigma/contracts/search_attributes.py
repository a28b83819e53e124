"""Search attributes of executions. A missing one fails every start: `stigma setup` adds them."""

from __future__ import annotations

from typing import Any

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.common import SearchAttributeKey

AGENT = SearchAttributeKey.for_keyword("StigmaAgent")
PRINCIPAL = SearchAttributeKey.for_keyword("StigmaPrincipal")
SESSION = SearchAttributeKey.for_keyword("StigmaSession")
LABELS = SearchAttributeKey.for_keyword_list("StigmaLabels")
PHASE = SearchAttributeKey.for_keyword("StigmaPhase")

ALL: tuple[SearchAttributeKey[Any], ...] = (AGENT, PRINCIPAL, SESSION, LABELS, PHASE)

INDEXED_VALUE_TYPES: dict[str, IndexedValueType.ValueType] = {
    key.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST
    if key is LABELS
    else IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    for key in ALL
}
