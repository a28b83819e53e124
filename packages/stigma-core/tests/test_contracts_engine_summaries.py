"""Summaries of the engine's calls and timers: what people and the API read beside them."""

from __future__ import annotations

import pytest

from stigma.contracts.engine_summaries import (
    TimerKind,
    TimerUse,
    Tries,
    agent_call_of,
    agent_summary,
    call_of,
    call_summary,
    is_around,
    timer_summary,
    timer_use_of,
)
from stigma.contracts.payloads import DATA_CONVERTER

SECOND = Tries(2, 5)
LONG = "/do/0/" + "p" * 400


@pytest.mark.parametrize(
    ("agent", "pointer"),
    [("reviewer@2", "/do/0/ask"), ("", "/do/0/ask"), ("a", "/do/0/two words/do/1/ /x")],
)
@pytest.mark.parametrize("tries", [None, SECOND, Tries(3)])
def test_the_summary_of_an_agent_s_call_has_its_task(
    agent: str, pointer: str, tries: Tries | None
) -> None:
    assert agent_call_of(agent_summary(agent, pointer, tries)) == (agent, pointer, tries)


@pytest.mark.parametrize("tries", [None, SECOND])
def test_a_long_one_is_cut_at_the_start_of_its_pointer(tries: Tries | None) -> None:
    for agent in ("a", "a" * 63):
        summary = agent_summary(agent, LONG, tries)
        assert len(summary) == 98
        named, task, read = agent_call_of(summary)
        assert (named, read) == (agent, tries)
        assert task[0] == "…"
        assert LONG.endswith(task[1:])
    assert agent_summary("a" * 90, LONG, tries) == "a" * 90
    assert agent_summary("a" * 200, LONG, tries) == "a" * 98
    assert len(call_summary(LONG, tries)) == 98
    assert call_of(call_summary(LONG, tries))[1] == tries


@pytest.mark.parametrize("character", ["x", "é", "鷗", "😀", "\x01", '"'])
def test_temporal_takes_each_summary(character: str) -> None:
    """Its limit is 400 bytes of the payload, whatever characters there are in it."""
    long = "/do/0/" + character * 400
    timers = [TimerUse(TimerKind.TIMEOUT, long), TimerUse(TimerKind.RETRY, long, SECOND)]
    agents = [
        agent_summary(name, long, SECOND) for name in ("", "a" * 60, character * 70, "\ud800")
    ]
    converter = DATA_CONVERTER.payload_converter
    for summary in (call_summary(long, SECOND), *map(timer_summary, timers), *agents):
        assert converter.to_payload(summary).ByteSize() <= 400
    _, task, tries = agent_call_of(agent_summary("a", long, SECOND))
    assert task == "…" + character * (len(task) - 1)
    assert (tries, len(task) > 50) == (SECOND, True)


def test_the_try_of_an_agent_s_call_yields_to_its_task() -> None:
    agent = "a" * 70
    named, task, tries = agent_call_of(agent_summary(agent, LONG, SECOND))
    assert (named, tries) == (agent, None)
    assert len(task) == 98 - 70 - 1


@pytest.mark.parametrize(
    ("summary", "read"),
    [("reviewer", ("reviewer", "", None)), ("inline agent", ("", "", None)), ("", ("", "", None))],
)
def test_one_of_an_earlier_release_names_the_agent_alone(
    summary: str, read: tuple[str, str, Tries | None]
) -> None:
    assert agent_call_of(summary) == read


def test_a_first_try_is_not_said_to_be_one() -> None:
    assert call_summary("/do/0/a", Tries(1, 5)) == call_summary("/do/0/a") == "/do/0/a"
    assert call_of("/do/0/a") == ("/do/0/a", None)


@pytest.mark.parametrize(
    ("use", "summary", "text"),
    [
        (TimerUse(TimerKind.WAIT, "/do/0/a b"), "wait /do/0/a b", "of the wait /do/0/a b"),
        (
            TimerUse(TimerKind.RETRY, "/do/0/a", SECOND),
            "retry /do/0/a (try 2 of 5)",
            "before try 2 of 5 of /do/0/a",
        ),
        (
            TimerUse(TimerKind.RETRY, "/do/0/a", Tries(7)),
            "retry /do/0/a (try 7)",
            "before try 7 of /do/0/a",
        ),
        (
            TimerUse(TimerKind.TIMEOUT, "/do/0/a"),
            "timeout /do/0/a",
            "of the timeout of /do/0/a",
        ),
        (TimerUse(TimerKind.TIMEOUT, "/"), "timeout /", "of the document's timeout"),
    ],
)
def test_the_use_of_a_timer(use: TimerUse, summary: str, text: str) -> None:
    assert timer_summary(use) == summary
    assert timer_use_of(summary) == use
    assert str(use) == text
    assert len(timer_summary(use._replace(task=LONG))) == 98


@pytest.mark.parametrize("summary", ["", "wait", "wait ", "nap /do/0/a", "wait do", "/do/0/a"])
def test_another_summary_of_a_timer_says_nothing(summary: str) -> None:
    assert timer_use_of(summary) is None


@pytest.mark.parametrize(
    ("outer", "task", "expected"),
    [
        ("/do/0/a", "/do/0/a", True),
        ("/do/0/a", "/do/0/a/try/0/b", True),
        ("/do/0/a", "/do/0/ab", False),
        ("/do/0/a/try/0/b", "/do/0/a", False),
        ("/", "/do/0/a", True),
        ("/", "…cut", True),
        ("…cut", "…cut/b", False),
        ("/do/0/a", "…cut", False),
    ],
)
def test_what_is_certainly_around_a_task(outer: str, task: str, expected: bool) -> None:
    assert is_around(outer, task) is expected
