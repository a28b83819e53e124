"""`docker kill` at a chosen moment: tests of tests/reliability, on the images.

One a service: what differs from a process is how it ends and comes back. The others are in
`make soak`.
"""

from __future__ import annotations

from tests.reliability.test_kills import (  # noqa: F401
    test_ai_worker_in_the_middle_of_a_model_call,
    test_callers_worker_while_the_agent_works,
    test_engine_before_the_api_hears_of_its_call,
    test_orchestrator_before_it_delivers,
)
from tests.reliability.test_outages import (  # noqa: F401
    test_api_down_while_an_agent_works_and_delivers,
)
