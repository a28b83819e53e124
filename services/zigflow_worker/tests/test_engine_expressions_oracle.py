"""The C implementation of jq agrees: every output and every error, over generated programs."""

import os
import random
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.zigflow_worker.tests import jq_fuzz, jq_tour
from services.zigflow_worker.tests.jq_builtin_calls import KINDS
from services.zigflow_worker.tests.jq_differences import reason
from services.zigflow_worker.tests.jq_programs import (
    complete,
    complete_programs,
    documents,
    environments,
    paths,
)
from services.zigflow_worker.tests.jq_reference import difference
from zigflow_worker.expressions import (
    JSON,
    Budget,
    ExpressionError,
    ExpressionSyntaxError,
    compile_expression,
)

_FUZZ_SECONDS = float(os.environ.get("STIGMA_FUZZ_SECONDS", "900"))
_SEED = int(os.environ.get("STIGMA_TEST_SEED", random.randrange(10**6)))
_in_ci = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_selections = st.one_of(
    paths(2),
    paths(2).map(lambda path: f"[path({path})]"),
    paths(2).map(lambda path: f"del({path})"),
    st.tuples(
        paths(2), st.sampled_from(["=", "|=", "+=", "//="]), st.sampled_from(["1", ".", "empty"])
    ).map(lambda p: f"({p[0]}) {p[1]} {p[2]}"),
    st.tuples(paths(1), st.sampled_from(["=", "|=", "+=", "//="]), paths(1)).map(" ".join),
)


def expect_agreement(program: str, data: JSON, variables: dict[str, JSON]) -> None:
    found = difference(program, data, variables)
    assert found is None or reason(program, found), f"{program} of {data!r}, {variables!r}: {found}"


@settings(_in_ci, max_examples=200)
@given(complete_programs, documents, environments)
def test_generated_programs_agree_with_jq(
    program: str, data: Any, variables: dict[str, Any]
) -> None:
    expect_agreement(program, data, variables)


@settings(_in_ci, max_examples=120)
@given(_selections.map(complete), documents, environments)
def test_generated_paths_agree_with_jq(program: str, data: Any, variables: dict[str, Any]) -> None:
    expect_agreement(program, data, variables)


@pytest.mark.parametrize("kind", KINDS)
def test_builtins_agree_with_jq(kind: str) -> None:
    @settings(_in_ci, max_examples=40)
    @given(KINDS[kind])
    def compare(call: tuple[str, Any]) -> None:
        expect_agreement(*call, {})

    compare()


@pytest.mark.parametrize("program", jq_tour.PROGRAMS.strip().splitlines())
def test_a_tour_of_the_language_agrees_with_jq(program: str) -> None:
    expect_agreement(program, jq_tour.DATA, {})


@pytest.mark.soak
def test_other_seeds_find_no_difference() -> None:
    found = [f"{finding}" for finding in jq_fuzz.search(_FUZZ_SECONDS, _SEED)]
    assert not found, f"STIGMA_TEST_SEED={_SEED}\n" + "\n".join(found)


@settings(_in_ci, max_examples=60)
@given(complete_programs, documents, environments)
def test_the_same_work_costs_the_same(program: str, data: Any, variables: dict[str, Any]) -> None:
    first, second = Budget(20_000), Budget(20_000)
    for budget in (first, second):
        with suppress(ExpressionError, ExpressionSyntaxError):
            expression = compile_expression(program, frozenset(variables))
            expression.evaluate(data, variables, budget)
    assert first.used == second.used
