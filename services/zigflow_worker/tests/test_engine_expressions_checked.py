"""Results are checked in full, however much of them was checked before."""

import gc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zigflow_worker.expressions import JSON, Budget, ExpressionError, compile_expression

NAMES = frozenset({"item"})
JOINED = compile_expression(". + $item", NAMES)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=600)),
    lambda children: st.one_of(
        st.lists(children, max_size=6), st.dictionaries(st.text(max_size=300), children, max_size=6)
    ),
    max_leaves=40,
)


def evaluate(source: str, data: JSON, budget: Budget, item: JSON = None) -> JSON:
    return compile_expression(source, NAMES).evaluate(data, {"item": item}, budget)


def steps_of_check(value: JSON, budget: Budget) -> int:
    before = budget.used
    budget.check_result(value)
    return budget.used - before


@given(values=st.lists(VALUES, min_size=1, max_size=8))
def test_a_check_takes_the_steps_of_the_whole_result(values: list[Any]) -> None:
    shared = Budget()
    for end in range(1, len(values) + 1):
        whole = values[:end]
        assert steps_of_check(whole, shared) == steps_of_check(whole, Budget())
        assert steps_of_check(whole, shared) == Budget().weigh(whole)


@given(left=st.lists(VALUES, max_size=5), right=st.lists(VALUES, min_size=1, max_size=5))
def test_two_lists_weigh_what_they_weigh_as_one(left: list[Any], right: list[Any]) -> None:
    budget = Budget()
    budget.check_result(left)
    joined = JOINED.evaluate(left, {"item": right}, budget)
    assert steps_of_check(joined, budget) == Budget().weigh([*left, *right])


def test_a_list_that_grows_takes_steps_for_what_is_new() -> None:
    budget = Budget(20_000, new_parts=True)
    grown: JSON = []
    for index in range(1_000):
        grown = evaluate(". + [{item: $item}]", grown, budget, index)
    assert isinstance(grown, list)
    assert len(grown) == 1_000
    assert Budget().weigh(grown) > 3_000, "more than a list of numbers"


def long_lists() -> int:
    return sum(type(each) is list and len(each) > 500 for each in gc.get_objects())


def test_a_list_that_grows_in_one_evaluation_is_kept_once() -> None:
    budget = Budget()
    start: JSON = evaluate(". + [0]", [], budget)
    budget.check_result(start)
    before = long_lists()
    grown = evaluate("reduce range(1500) as $i (.; . + [$i])", start, budget)
    assert isinstance(grown, list)
    assert len(grown) == 1_501
    assert long_lists() - before < 10, "and not a thousand, the lists on the way"


def test_a_list_is_added_to_itself() -> None:
    budget = Budget()
    start: JSON = [[1], [2]]
    budget.check_result(start)
    twice = evaluate(". + .", start, budget)
    assert steps_of_check(twice, budget) == Budget().weigh([[1], [2], [1], [2]])


@pytest.mark.parametrize("new_parts", [False, True])
def test_a_result_that_doubles_each_time_is_refused(*, new_parts: bool) -> None:
    budget = Budget(new_parts=new_parts)
    doubled: JSON = [1]
    for _ in range(16):
        doubled = [doubled, doubled]
        budget.used = 0
        budget.check_result(doubled)
    with pytest.raises(ExpressionError, match="budget"):
        budget.check_result([[doubled, doubled], [doubled, doubled]])


@pytest.mark.parametrize("new_parts", [False, True])
def test_a_result_that_nests_one_deeper_each_time_is_refused(*, new_parts: bool) -> None:
    budget = Budget(new_parts=new_parts)
    nested: JSON = []
    for _ in range(499):
        nested = [nested]
        budget.check_result(nested)
    with pytest.raises(ExpressionError, match="nests more than 500 deep"):
        budget.check_result([nested])


@pytest.mark.parametrize("new_parts", [False, True])
def test_what_json_cannot_say_is_refused_in_an_added_part(*, new_parts: bool) -> None:
    budget = Budget(new_parts=new_parts)
    grown = evaluate(". + [1]", [], budget)
    assert evaluate("(. + [[nan]]) | length", grown, budget) == 2
    with pytest.raises(ExpressionError, match="NaN"):
        evaluate(". + [[nan]]", grown, budget)
    assert evaluate(". + [[2]]", grown, budget) == [1, [2]]
