"""Task tokens: read as far as needed, shown as a fingerprint only."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigma.contracts import limits, tokens
from stigma.internal.v1.task_token_pb2 import TaskToken

words = st.text(min_size=1, max_size=50)
task_tokens = st.builds(
    TaskToken,
    namespace_id=words,
    workflow_id=words,
    run_id=words,
    scheduled_event_id=st.integers(0, 2**63 - 1),
    attempt=st.integers(0, 2**31 - 1),
    activity_id=st.text(max_size=50),
)


@given(task_tokens, st.binary(max_size=20))
def test_a_token_is_read_whatever_else_temporal_puts_in_it(token: TaskToken, more: bytes) -> None:
    field_100 = b"\xa2\x06" + bytes([len(more)]) + more
    parsed = tokens.parse(token.SerializeToString() + field_100)
    for field in token.DESCRIPTOR.fields:
        assert getattr(parsed, field.name) == getattr(token, field.name)


@given(st.binary(max_size=limits.MAX_TOKEN_BYTES))
def test_any_bytes_are_a_token_or_refused_without_being_quoted(data: bytes) -> None:
    try:
        parsed = tokens.parse(data)
    except tokens.InvalidTokenError as error:
        told = (str(error), error.__cause__)
        assert told in {
            ("not a Temporal task token", None),
            ("not the task token of a workflow's activity", None),
        }
    else:
        assert parsed.namespace_id
        assert parsed.workflow_id
        assert parsed.run_id


@pytest.mark.parametrize("missing", ["namespace_id", "workflow_id", "run_id"])
def test_a_token_without_its_workflow_is_refused(missing: str) -> None:
    token = TaskToken(namespace_id="n", workflow_id="w", run_id="r")
    token.ClearField(missing)  # type: ignore[arg-type]
    with pytest.raises(tokens.InvalidTokenError):
        tokens.parse(token.SerializeToString())


def test_an_empty_token_is_refused() -> None:
    with pytest.raises(tokens.InvalidTokenError):
        tokens.parse(b"")


@given(st.binary(min_size=1))
def test_a_fingerprint_is_the_start_of_the_sha_256(token: bytes) -> None:
    shown = tokens.fingerprint(token)
    assert len(shown) == tokens.FINGERPRINT_LENGTH == 12
    assert hashlib.sha256(token).hexdigest().startswith(shown)


def test_no_token_has_no_fingerprint() -> None:
    assert tokens.fingerprint(b"") == ""


@given(task_tokens, st.integers(0, 100))
def test_every_attempt_has_the_same_request_id(token: TaskToken, attempt: int) -> None:
    later = TaskToken()
    later.CopyFrom(token)
    later.attempt = attempt
    assert tokens.request_id(later) == tokens.request_id(token)


def test_another_activity_has_another_request_id() -> None:
    token = TaskToken(workflow_id="w", run_id="r", scheduled_event_id=5)
    others = [
        TaskToken(workflow_id="v", run_id="r", scheduled_event_id=5),
        TaskToken(workflow_id="w", run_id="s", scheduled_event_id=5),
        TaskToken(workflow_id="w", run_id="r", scheduled_event_id=6),
    ]
    assert len({tokens.request_id(one) for one in [token, *others]}) == 4
