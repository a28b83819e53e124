"""Text of a model that is still writing, cut into heartbeats and put together again."""

from __future__ import annotations

import random
from typing import Any

import pytest

from stigma.agent.v1.agent_execution_service_pb2 import ModelProgress
from stigma.contracts.partial_text import MAX_TAIL_BYTES, PartialText, ReceivedText, read_details


def progress(written: PartialText) -> ModelProgress:
    found = read_details(written.details())
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_hundred_random_reconnects_put_the_whole_text_together(seed: int) -> None:
    rng = random.Random(seed)
    written, received, whole = PartialText(2, 3), ReceivedText(), ""
    sent: list[ModelProgress] = []
    for _ in range(100):
        for _ in range(rng.randint(0, 5)):
            piece = "".join(rng.choices("ab äß日👋\n", k=rng.randint(0, 200)))
            whole += piece
            written.add(piece)
        if whole:
            sent.append(progress(written))
        # Some is lost, some comes twice or late.
        for each in rng.sample(sent[-4:], k=min(len(sent), rng.randint(0, 3))):
            received.add(each)
            assert whole[received.offset :].startswith(received.text)
    received.add(progress(written))
    assert (received.offset, received.text) == (0, whole)


def test_only_the_end_of_a_long_text_is_kept() -> None:
    written, whole = PartialText(1, 1), ""
    for number in range(30_000):
        piece = f"{number}ä"
        whole += piece
        written.add(piece)
    found = progress(written)
    assert MAX_TAIL_BYTES - 2 < len(found.text.encode()) <= MAX_TAIL_BYTES
    assert whole[found.offset :] == found.text


def test_text_beyond_a_gap_begins_anew_there() -> None:
    received = ReceivedText()
    received.add(ModelProgress(step=1, attempt=1, offset=0, text="one "))
    received.add(ModelProgress(step=1, attempt=1, offset=10, text="three"))
    assert (received.offset, received.text) == (10, "three")


def test_another_attempt_or_step_begins_anew() -> None:
    received = ReceivedText()
    for step, attempt in ((1, 1), (1, 2), (2, 1)):
        received.add(ModelProgress(step=step, attempt=attempt, offset=0, text=f"{step}{attempt}"))
        assert received.text == f"{step}{attempt}"


def test_a_character_cut_in_two_is_whole_once_both_halves_are_there() -> None:
    written = PartialText(1, 1)
    written.add("a\ud83d")
    assert progress(written).text == "a"
    written.add("\udc4bb")
    assert progress(written).text == "a👋b"
    written.add("\udc4b")
    assert progress(written).text == "a👋b\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"step": 1, "attempt": 1, "offset": 0},
        {"step": 1, "attempt": 1, "offset": 0, "text": ""},
        {"step": 1, "attempt": 1, "offset": 0, "text": 5},
        {"step": "x", "attempt": 1, "offset": 0, "text": "a"},
        {"step": 2**40, "attempt": 1, "offset": 0, "text": "a"},
        {"step": 1, "attempt": 1, "offset": -(2**70), "text": "a"},
    ],
)
def test_details_of_something_else_are_no_progress(details: dict[str, Any]) -> None:
    assert read_details(details) is None
