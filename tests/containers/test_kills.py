"""`docker kill` at a chosen moment: the tests of tests/reliability, on the images."""

from __future__ import annotations

from tests.reliability.test_kills import (  # noqa: F401
    test_ai_worker_in_the_middle_of_a_model_call,
    test_api_after_it_started_the_agent_before_it_answered,
    test_callers_worker_while_the_agent_works,
    test_engine_before_it_hears_from_the_api,
    test_engine_before_the_api_hears_of_its_call,
    test_orchestrator_after_it_delivered_before_its_history_has_it,
    test_orchestrator_before_it_delivers,
)
from tests.reliability.test_outages import (  # noqa: F401
    test_ai_worker_down,
    test_api_down_when_asked,
    test_api_down_while_an_agent_works_and_delivers,
    test_engine_down,
    test_orchestrator_down,
)
