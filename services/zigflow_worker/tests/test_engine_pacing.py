"""Activations end where the history says, whatever a release counts."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from stigma.contracts.payloads import DATA_CONVERTER
from zigflow_worker.activities.interfaces import RECORD_PLAN
from zigflow_worker.execution.pacing import Pace
from zigflow_worker.expressions import Budget
from zigflow_worker.workflow import DocumentWorkflow

LIGHT_THEN_HEAVY = """
do:
  - light:
      for: {in: "[range(9000)]"}
      do: [{count: {set: "${ . + 1 }"}}]
  - heavy:
      for: {in: "[range(100)]"}
      do: [{count: {set: "${ . + ([range(300)] | length) }"}}]
"""


@pytest.mark.parametrize("steps_per_task", [1, 25])
async def test_the_price_of_a_task_moves_no_command(
    engine: Any, monkeypatch: pytest.MonkeyPatch, steps_per_task: int
) -> None:
    assert await engine.run(LIGHT_THEN_HEAVY, 0) == 39_000
    [history] = [history async for history in engine.histories()]
    assert len(_plans(history)) >= 3
    monkeypatch.setattr("zigflow_worker.execution.interpreter.STEPS_PER_TASK", steps_per_task)
    replayer = Replayer(workflows=[DocumentWorkflow], data_converter=DATA_CONVERTER)
    await replayer.replay_workflow(history)


LARGE = list(range(1_000))
GROWING_LIST = """
do:
  - each:
      for: {in: "[range(1000)]"}
      do: [{add: {set: {found: "${ (.found // []) + [{item: $item}] }"}}}]
"""


async def test_a_list_that_grows_takes_one_activation(engine: Any) -> None:
    output = await engine.run(GROWING_LIST, {})
    assert output["found"][-1] == {"item": 999}
    [history] = [history async for history in engine.histories()]
    assert _plans(history) == []
    replayer = Replayer(workflows=[DocumentWorkflow], data_converter=DATA_CONVERTER)
    await replayer.replay_workflow(history)


def test_only_what_is_new_counts_once_turns_do() -> None:
    budget = Budget()
    for _ in range(10):
        budget.check_result(LARGE)
    assert budget.used == 10 * 1_001
    pace = Pace(5_000, lambda change: True)
    assert pace.allows(budget)
    assert budget.used < 1_001
    before = budget.used
    budget.check_result(LARGE)
    assert budget.used == before


def _plans(history: WorkflowHistory) -> list[int]:
    plans = []
    for event in history.events:
        if not event.HasField("marker_recorded_event_attributes"):
            continue
        details = {**event.marker_recorded_event_attributes.details}
        if "result" in details and RECORD_PLAN.encode() in details["data"].payloads[0].data:
            plans.append(int(details["result"].payloads[0].data))
    return plans


def test_a_plan_follows_what_turns_take() -> None:
    pace = Pace(30_000, lambda change: True)
    assert _turns(pace, steps_per_turn=7) == 2_500
    assert pace.next_plan(7 * 2_500) == 4_285
    assert pace.next_plan(3 * 2_500) == 5_000  # at most twice as long
    pace.follow(4_000)
    assert _turns(pace, steps_per_turn=7) == 4_000
    assert pace.next_plan(7 * 4_000) == 4_285
    pace.follow(4_285)
    assert _turns(pace, steps_per_turn=300) == 400  # four times the steps: it ends at once
    assert pace.next_plan(300 * 400) == 100
    pace.follow(100)
    assert _turns(pace, steps_per_turn=300) == 100
    assert pace.next_plan(10_000_000) == 1


def test_a_run_of_0_1_0_ends_activations_after_steps() -> None:
    pace = Pace(30_000, lambda change: False)
    assert _turns(pace, steps_per_turn=7) == 4_286
    assert _turns(pace, steps_per_turn=300) == 100
    assert not pace.counts_turns


def _turns(pace: Pace, steps_per_turn: int) -> int:
    pace.begin_activation()
    budget = Budget()
    while pace.allows(budget):
        pace.turns += 1
        budget.used += steps_per_turn
    return pace.turns
