"""The engine's argument: what was sent arrives, and nothing else can be brought in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigma.contracts import engine, ids
from stigma.contracts.executions import Kind

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.text(), values)
def test_what_was_sent_arrives(document: str, value: object) -> None:
    argument = engine.start_argument(document, json.dumps(value)).payload
    assert argument.metadata["encoding"] == b"json/plain"
    assert json.loads(argument.data) == {"document": document, "input": value}


def test_numbers_arrive_as_they_were_written() -> None:
    text = "[1.50, 1e400, 12345678901234567890.123, " + "9" * 5000 + "]"
    assert text.encode() in engine.start_argument("d", text).payload.data


def test_no_input_is_null() -> None:
    assert json.loads(engine.start_argument("d", "").payload.data)["input"] is None


@pytest.mark.parametrize(
    "text", ['1, "state": {}', "{", "NaN", "[Infinity]", "'a'", " ", "[" * 100_000]
)
def test_what_is_not_one_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the input is not JSON"):
        engine.start_argument("d", text)


def test_a_check_is_asked_for_beside_the_document() -> None:
    data = engine.validation_argument('do: ["é"]').payload.data
    assert json.loads(data) == {"document": 'do: ["é"]', "validate": True}


def test_a_run_is_named_after_its_execution() -> None:
    execution = ids.execution_id("p", "n", "r", Kind.WORKFLOW)
    assert engine.run_id(execution) == execution.replace("workflow-", "run-")
