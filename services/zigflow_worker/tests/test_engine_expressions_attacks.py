"""Expressions made to take long or much memory end soon, in the same way everywhere."""

import random

import pytest

from services.zigflow_worker.tests import attack_process
from services.zigflow_worker.tests.attack_process import Use
from services.zigflow_worker.tests.expression_attacks import attacks

_MEGABYTES = 200
# Seconds of CPU: a slow machine with other work has twice as many.
_SECONDS, _SECONDS_IN_CI = 2, 5
_ELSEWHERE = {"PYTHONHASHSEED": "7", "TZ": "Pacific/Apia", "LC_ALL": "tr_TR.UTF-8"}
_ELSEWHERE_DEPTH = 400
_IN_CI = 24


def _sample() -> list[str]:
    return random.Random(11).sample(attacks(), _IN_CI)


def _expect_small(uses: list[Use], seconds: float) -> None:
    escaped = [f"{use}" for use in uses if use.outcome.startswith(("escaped", "killed"))]
    large = [f"{use}" for use in uses if use.cpu > seconds or use.memory > _MEGABYTES]
    assert not escaped, "escaped:\n" + "\n".join(escaped)
    assert not large, "too large:\n" + "\n".join(large)


def _expect_same(uses: list[Use], elsewhere: list[Use]) -> None:
    other = [
        f"{use}; elsewhere {again.steps} steps: {again.outcome[:80]}"
        for use, again in zip(uses, elsewhere, strict=True)
        if (use.steps, use.outcome) != (again.steps, again.outcome)
    ]
    assert not other, "other steps elsewhere:\n" + "\n".join(other)


def test_there_are_many_attacks() -> None:
    assert len(set(attacks())) > 400


def test_attacks_end_soon_and_the_same_everywhere() -> None:
    uses = list(attack_process.run(_sample()))
    _expect_small(uses, _SECONDS_IN_CI)
    again = attack_process.run(_sample(), environment=_ELSEWHERE, depth=_ELSEWHERE_DEPTH)
    _expect_same(uses, list(again))


@pytest.mark.soak
def test_all_attacks_end_soon_and_the_same_everywhere() -> None:
    uses = list(attack_process.run(attacks()))
    by_cpu = sorted(uses, key=lambda use: -use.cpu)[:10]
    by_memory = sorted(uses, key=lambda use: -use.memory)[:10]
    print("worst:", *by_cpu, *by_memory, sep="\n")  # noqa: T201
    _expect_small(uses, _SECONDS)
    again = attack_process.run(attacks(), environment=_ELSEWHERE, depth=_ELSEWHERE_DEPTH)
    _expect_same(uses, list(again))
