"""Ids and names that every service derives the same way."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from stigma.contracts import ids
from stigma.contracts.task_queues import TaskQueues

triples = st.tuples(st.text(), st.text(), st.text())


@given(triples)
def test_an_execution_id_is_a_workflow_id_and_always_the_same(
    request: tuple[str, str, str],
) -> None:
    first, again = ids.execution_id(*request), ids.execution_id(*request)
    assert first == again
    assert re.fullmatch(r"agent-[0-9a-f]{32}", first)


@given(triples, triples)
def test_different_requests_have_different_ids(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    assert (ids.execution_id(*one) == ids.execution_id(*other)) == (one == other)


@given(st.text(min_size=1), st.text(min_size=1))
def test_the_borders_between_the_parts_count(head: str, tail: str) -> None:
    assert ids.execution_id(head + tail, "", "r") != ids.execution_id(head, tail, "r")
    assert ids.execution_id("p", head + tail, "") != ids.execution_id("p", head, tail)


def test_an_execution_id_never_changes() -> None:
    """A request replayed after an upgrade must find its execution."""
    expected = "agent-7ef3790d25c472320cc0553c8e55a09a"
    assert ids.execution_id("ada", "default", "request-1") == expected


def test_the_queues_of_a_single_installation() -> None:
    queues = TaskQueues()
    assert (queues.engine, queues.orchestrator) == ("zigflow", "stigma")
    assert (queues.ai, queues.watch) == ("stigma-ai", "stigma-watch")


@given(st.text())
def test_a_workflow_learns_its_installation_from_its_queue(prefix: str) -> None:
    queues = TaskQueues(prefix)
    assert TaskQueues.from_orchestrator(queues.orchestrator) == queues
    names = {queues.engine, queues.orchestrator, queues.ai, queues.watch}
    assert len(names) == 4
    assert all(name.startswith(prefix) for name in names)
