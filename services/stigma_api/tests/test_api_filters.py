"""The filter grammar: what it says, and that nothing of a filter but values reaches the query."""

from __future__ import annotations

import re

import pytest
from google.rpc.error_details_pb2 import BadRequest
from hypothesis import given
from hypothesis import strategies as st

from stigma.contracts.executions import Kind
from stigma_api.errors import ApiError
from stigma_api.requests.filters import compile_filter
from stigma_api.temporal.visibility import quoted

SAFE = st.text(st.characters(exclude_characters="\"'\\", exclude_categories=("Cc", "Cs")))
# What a compiled query consists of, once its literals are taken out.
SHAPE = re.compile(
    r"(Stigma(Agent|Session|Labels|Phase)|ExecutionStatus|StartTime|CloseTime|IN|IS|NULL|AND|OR"
    r"|=|>=|<=|\(|\)|,|\?|\s)*"
)


def shape(query: str) -> str:
    return re.sub(r"'[^']*'", "?", query)


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("", []),
        ("   ", []),
        ('agent = "reviewer"', ["StigmaAgent = 'reviewer'"]),
        ('session="a b"', ["StigmaSession = 'a b'"]),
        ('labels.team/x.y-z = "a=b"', ["StigmaLabels = 'team/x.y-z=a=b'"]),
        # A paused workflow is open as well, and not every server knows the status by name.
        ("phase = RUNNING", ["CloseTime IS NULL"]),
        ("phase = PENDING", ["CloseTime IS NULL"]),
        ("phase = INPUT_REQUIRED", ["(CloseTime IS NULL AND StigmaPhase = 'INPUT_REQUIRED')"]),
        ('phase = "COMPLETED"', ["(ExecutionStatus = 'Completed' OR StigmaPhase = 'COMPLETED')"]),
        (
            'start_time >= "2026-01-31T13:00:00+01:00" AND start_time<="2026-02-01T00:00:00Z"',
            ["StartTime >= '2026-01-31T12:00:00Z'", "StartTime <= '2026-02-01T00:00:00Z'"],
        ),
    ],
)
def test_a_filter_is_compiled(text: str, conditions: list[str]) -> None:
    assert compile_filter(text) == conditions


@pytest.mark.parametrize(
    "text",
    [
        "agent",
        "agent =",
        "agent = reviewer",
        "agent = 'reviewer'",
        'agent > "a"',
        'agent >= "a"',
        'agent = "a" AND',
        'agent = "a" OR agent = "b"',
        'agent = "a" agent = "b"',
        'AND agent = "a"',
        '"agent" = "a"',
        'agent = "a',
        'agent = "it\'s"',
        r'agent = "a\"b"',
        'agent = "a\nb"',
        "phase = DONE",
        "phase = running",
        'owner = "me"',
        'labels. = "x"',
        'StigmaPrincipal = "root"',
        'start_time >= "yesterday"',
        'start_time >= "2026-01-31T12:00:00"',
        'start_time >= "0001-01-01T00:00:00+14:00"',
        'start_time >= "9999-12-31T23:59:59-14:00"',
        "start_time >= 2026",
        'agent = "a" ; agent = "b"',
        'agent = "' + "a" * 5000 + '"',
        " AND ".join(['agent = "a"'] * 17),
    ],
)
def test_what_is_not_a_filter_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        compile_filter(text)
    [detail] = caught.value.details
    assert isinstance(detail, BadRequest)
    assert [violation.field for violation in detail.field_violations] == ["filter"]


@pytest.mark.parametrize("text", ["phse = RUNNING", "phse >= 1", 'labels. = "a"', "nothing = x"])
def test_a_field_that_does_not_exist_is_said_before_its_value(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        compile_filter(text)
    fields = "agent, phase, session, root, parent, start_time or labels.KEY"
    assert f"a field is {fields}" in str(refused.value)


def test_agents_below_an_execution_are_found() -> None:
    assert compile_filter('root = "agent-1"') == ["StigmaRoot = 'agent-1'"]
    assert compile_filter('parent = "agent-1"') == ["StigmaParent = 'agent-1'"]
    with pytest.raises(ApiError):
        compile_filter('root = "workflow-1"', Kind.WORKFLOW)


@given(SAFE.filter(lambda text: len(text.encode()) < 4000))
def test_a_value_is_one_literal_and_itself(value: str) -> None:
    [condition] = compile_filter(f'session = "{value}"')
    assert condition == f"StigmaSession = '{value}'"
    assert shape(condition) == "StigmaSession = ?"


@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                "agent",
                "session",
                "labels.k",
                "phase",
                "start_time",
                "=",
                ">=",
                "AND",
                "OR",
                "'",
                '"',
                '"x"',
                "\\",
                "--",
                "RUNNING",
                ")",
                "(",
            ]
        ),
        max_size=12,
    ).map(" ".join)
)
def test_whatever_is_accepted_has_only_our_words_in_it(text: str) -> None:
    try:
        conditions = compile_filter(text)
    except ApiError:
        return
    for condition in conditions:
        assert SHAPE.fullmatch(shape(condition)), condition


@given(st.text())
def test_nothing_quoted_ends_its_literal(value: str) -> None:
    try:
        literal = quoted(value)
    except ValueError:
        assert set(value) & (set("\"'\\\x7f") | {chr(code) for code in range(32)})
        return
    assert shape(literal) == "?"
