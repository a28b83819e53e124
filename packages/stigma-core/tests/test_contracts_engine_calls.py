"""Summaries of the engine's calls: what people and the API read beside them."""

from __future__ import annotations

import pytest

from stigma.contracts.engine_calls import agent_and_task, agent_summary


@pytest.mark.parametrize(
    ("agent", "pointer"),
    [("reviewer@2", "/do/0/ask"), ("", "/do/0/ask"), ("a", "/do/0/two words/do/1/ /x")],
)
def test_the_summary_of_an_agent_s_call_has_its_task(agent: str, pointer: str) -> None:
    assert agent_and_task(agent_summary(agent, pointer)) == (agent, pointer)


def test_a_long_one_is_cut_at_the_start_of_its_pointer() -> None:
    pointer = "/do/0/" + "p" * 400
    for agent in ("a", "a" * 63):
        summary = agent_summary(agent, pointer)
        assert len(summary) == 98
        named, task = agent_and_task(summary)
        assert named == agent
        assert task[0] == "…"
        assert pointer.endswith(task[1:])
    assert agent_summary("a" * 90, pointer) == "a" * 90
    assert agent_summary("a" * 200, pointer) == "a" * 98


@pytest.mark.parametrize(
    ("summary", "read"),
    [("reviewer", ("reviewer", "")), ("inline agent", ("", "")), ("", ("", ""))],
)
def test_one_of_an_earlier_release_names_the_agent_alone(
    summary: str, read: tuple[str, str]
) -> None:
    assert agent_and_task(summary) == read
