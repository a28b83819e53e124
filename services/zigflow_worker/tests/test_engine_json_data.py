"""Data of runs is JSON at every door: finite, of whole characters, measured as UTF-8."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio import workflow
from temporalio.common import RawValue

from stigma.contracts import json_text, payloads
from stigma.contracts.refusals import Refusal
from zigflow_worker.execution.run_state import MAX_STATE_BYTES
from zigflow_worker.program.encoded_sizes import MAX_DEPTH, encoded_size

ECHO = "do: [{echo: {set: '${ . }'}}]"
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=3)
ANY_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), ANY_TEXT),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(ANY_TEXT, inner)),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1e999}', "a number is not finite"),
        ("[-Infinity]", "a number is not finite"),
        ("NaN", "a number is not finite"),
        ('["\\ud83d"]', "half of a surrogate pair is no character"),
        ('{"\\ud83d": 1}', "half of a surrogate pair is no character"),
    ],
)
async def test_an_input_that_is_no_json_is_refused(engine: Any, text: str, problem: str) -> None:
    argument = f'{{"document": {json.dumps(engine.document(ECHO))}, "input": {text}}}'
    handle = await engine.client.start_workflow(
        "example",
        RawValue(payloads.json_text_payload(argument)),
        id=f"engine-{hash(text)}-{id(engine)}",
        task_queue=engine.task_queue,
    )
    engine.handles.append(handle)
    error = await engine.fault_of(handle)
    assert error["detail"] == f"the input is not JSON: {problem}"
    assert error["refusal"] == Refusal.INPUT


async def test_what_looks_like_one_of_them_is_taken(engine: Any) -> None:
    data = ["NaN", "Infinity", "1e999", 1e100, "\\ud83d", "😀"]
    assert await engine.run(ECHO, data) == data


@pytest.mark.parametrize(
    ("expression", "detail"),
    [
        (".n * 10", "the result holds NaN or an infinity, which JSON cannot say"),
        ('"\\"\\\\ud83d\\"" | fromjson', "half of a surrogate pair is no character"),
        ('"\\ud83d"', "the output is not JSON: half of a surrogate pair is no character"),
    ],
)
async def test_a_computed_value_that_is_no_json_is_an_expression_error(
    engine: Any, expression: str, detail: str
) -> None:
    body = f"do: [{{bad: {{set: {json.dumps('${ ' + expression + ' }')}}}}}]"
    error = await engine.fault(body, {"n": 1e308})
    assert error["type"].endswith("/errors/expression")
    assert error["detail"] == detail


async def test_whole_pairs_of_escapes_are_characters(engine: Any) -> None:
    body = 'do: [{good: {set: \'${ "\\"\\\\ud83d\\\\ude00\\"" | fromjson }\'}}]'
    assert await engine.run(body) == "😀"


async def test_text_beyond_ascii_has_the_whole_limit(engine: Any) -> None:
    text = "я" * 700_000  # 1.4 MB of UTF-8, 4.2 MB of ASCII escapes
    assert await engine.run("do: [{short: {set: '${ length }'}}]", text) == 700_000
    assert await engine.run(ECHO, text) == text


async def test_escapes_count_as_they_are_written(engine: Any) -> None:
    body = "do: [{long: {set: '${ \"\\u0000\" * . }'}}]"
    error = await engine.fault(body, 300_000)
    assert error["detail"].startswith(f"the output is larger than {MAX_STATE_BYTES} bytes")


@pytest.mark.parametrize(
    "value", ["", "plain", 'я\n\0"😀', {"ключ": ["é", 1, True, None]}, [[], {}], "\ud83d"]
)
def test_sizes_are_those_of_the_payload(value: Any) -> None:
    (payload,) = payloads.DATA_CONVERTER.payload_converter.to_payloads([value])
    encoded = payload.data.decode().encode(errors="surrogatepass")
    size = encoded_size(value, 10_000).utf8
    # Numbers and separators are counted roughly.
    assert len(encoded) - 3 <= size <= len(encoded) + 20


@given(value=ANY_VALUES)
def test_a_value_without_suspects_is_json(value: Any) -> None:
    if not encoded_size(value, 2**40).suspects:
        assert json_text.problem_in(value) == ""


@pytest.mark.parametrize("value", [float("nan"), 1.5, "\ud83d", "é", {"\udc00": 1}])
@pytest.mark.parametrize("around", [lambda v: v, lambda v: [[], [1, v]], lambda v: {"a": {"b": v}}])
def test_suspects_are_found_anywhere(value: Any, around: Callable[[Any], Any]) -> None:
    assert encoded_size(around(value), 10_000).suspects == 1


@pytest.mark.parametrize(
    "text",
    ["NaN", "-Infinity", "1e999", "1E+400", "[1" + "0" * 308 + "]", '"\\ud83d"', '"\\uDC00"'],
)
def test_text_that_may_hold_what_is_no_json_is_suspect(text: str) -> None:
    assert json_text.is_suspect(text.encode())


@pytest.mark.parametrize("text", ["1e99", "1e-999", "[1" + "0" * 307 + "]", '"\\u00e9 Nan e+1"'])
def test_other_text_is_not_suspect(text: str) -> None:
    assert not json_text.is_suspect(text.encode())


@pytest.mark.parametrize("twice", [lambda part: [part, part], lambda part: {"a": part, "b": part}])
def test_parts_that_a_value_shares_are_walked_once(twice: Callable[[Any], Any]) -> None:
    """Two to the power of 60 of them would never be."""
    value: Any = "part"
    sizes = [encoded_size(value, 100)]
    for _ in range(60):
        value = twice(value)
        sizes.append(encoded_size(value, 2**90))
    own = [after.utf8 - 2 * before.utf8 for before, after in pairwise(sizes)]
    assert set(own) == {own[0]}
    assert encoded_size(value, 1_000_000)[:2] == (1_000_001, 1_000_001)
    assert encoded_size([value, ["deeper", value]], 2**90).utf8 > 2 * sizes[-1].utf8


def test_depth_has_a_limit() -> None:
    nested: Any = 1
    for _ in range(MAX_DEPTH):
        nested = [nested]
    assert encoded_size(nested, 10_000).utf8 < 10_000
    assert encoded_size([nested], 10_000)[:2] == (10_001, 10_001)
    assert encoded_size([nested, 1], 10_000)[:2] == (10_001, 10_001)


@pytest.mark.parametrize(
    ("body", "data"),
    [
        ("do: [{nap: {wait: '${ {milliseconds: .ms} }'}}]", {"ms": 20.0}),
        ("do: [{nap: {wait: {milliseconds: 20.0}}}]", {"ms": 20}),
    ],
)
async def test_whole_numbers_may_be_written_as_floats(engine: Any, body: str, data: Any) -> None:
    assert await engine.run(body, data) == data


async def test_a_status_written_as_a_float_is_an_integer(engine: Any) -> None:
    body = """
    do:
    - fail:
        raise: {error: {type: 'https://example.com/teapot', status: '${ .s }'}}
    """
    error = await engine.fault(body, {"s": 418.0})
    assert error["status"] == 418
    assert isinstance(error["status"], int)
    error = await engine.fault(body, {"s": 418.5})
    assert error["detail"] == "the status of an error must be an integer"


async def test_only_what_is_long_in_an_error_is_cut(engine: Any) -> None:
    body = """
    do:
    - fail:
        raise:
          error:
            type: https://example.com/long
            status: 500
            title: Short
            detail: '${ "я" * 70000 }'
    """
    error = await engine.fault(body)
    assert error["type"] == "https://example.com/long"
    assert error["title"] == "Short"
    assert error["instance"] == "/do/0/fail"
    assert error["detail"] == "я" * 2000 + "…"


async def test_runs_that_began_before_go_on_as_they_began(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's fixture replays each history, where nothing says that there was a change."""
    nap = "do: [{nap: {wait: '${ {milliseconds: .ms} }'}}]"
    with monkeypatch.context() as before:
        before.setattr(workflow, "patched", lambda _: False)
        text = "я" * 300_000
        assert (await engine.fault(ECHO, text))["detail"].startswith("the output is larger than")
        error = await engine.fault(nap, {"ms": 20.0})
        assert error["detail"] == "milliseconds must be a whole number, not negative"
        assert await engine.run(nap, {"ms": 20}) == {"ms": 20}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("{agent: a, message: '${ \"\\ud83d\" }'}", "half of a surrogate pair is no character"),
        ("{agent: a, input: {deep: ['${ \"\\ud83d\" }']}}", "half of a surrogate pair"),
    ],
)
async def test_arguments_of_an_agent_are_json(
    engine: Any, api: Any, arguments: str, problem: str
) -> None:
    error = await engine.fault(f"do: [{{ask: {{call: agent, with: {arguments}}}}}]")
    assert error["type"].endswith("/errors/configuration")
    assert problem in error["detail"]
    assert not api.starts


async def test_whole_numbers_of_an_agents_arguments_may_be_floats(engine: Any, api: Any) -> None:
    body = """
    do:
    - ask:
        timeout: {after: {milliseconds: 900}}
        call: agent
        with:
          agent: a
          heartbeatTimeout: '${ {seconds: .two} }'
          config: '${ {timeout: {minutes: .two}, limits: {steps: .two}} }'
    """
    await engine.fault(body, {"two": 2.0})
    [start] = api.starts
    assert start.config.limits.steps == 2
    assert start.config.timeout.ToTimedelta() == timedelta(minutes=2)


@pytest.mark.parametrize("depth", [400, 900, 5_000])
async def test_deep_data_ends_in_a_typed_fault(engine: Any, depth: int) -> None:
    argument = (
        f'{{"document": {json.dumps(engine.document(ECHO))}, "input": {"[" * depth}{"]" * depth}}}'
    )
    handle = await engine.client.start_workflow(
        "example",
        RawValue(payloads.json_text_payload(argument)),
        id=f"engine-deep-{depth}-{id(engine)}",
        task_queue=engine.task_queue,
    )
    engine.handles.append(handle)
    if depth == 400:
        assert str(await handle.result()).startswith("[[[[")
    else:
        assert (await engine.fault_of(handle))["status"] in (400, 500)
