"""The other moments of a `docker kill`, for `make soak`."""

from __future__ import annotations

import pytest

from tests.reliability.test_kills import (  # noqa: F401
    test_api_after_it_started_the_agent_before_it_answered,
    test_engine_before_it_hears_from_the_api,
    test_orchestrator_after_it_delivered_before_its_history_has_it,
)
from tests.reliability.test_outages import (  # noqa: F401
    test_ai_worker_down,
    test_api_down_when_asked,
    test_engine_down,
    test_orchestrator_down,
)

pytestmark = pytest.mark.soak
