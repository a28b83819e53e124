from __future__ import annotations

import base64
import io
import json
import logging
import sys
import threading
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

import pytest
import structlog
from opentelemetry import trace
from pydantic import Field, SecretStr

from stigma.agent.v1 import agent_pb2
from stigma.runtime import logging as service_logging
from stigma.runtime.settings import ServiceSettings

TOKEN = (
    b"\n$32049b68-7872-4094-8e63-d0dd59896a83\x12\x08caller-1\x1a$"
    b"01a1fbdc-bc6d-7645-8734-622fc46a92ca \x05(\x012\x0242B\x0acall_agent"
)
_LOUD = (
    "stigma",
    "temporalio.activity",
    "temporalio.workflow",
    "httpx",
    "httpcore",
    "httpx2",
    "httpcore2",
)


class Settings(ServiceSettings):
    key: SecretStr = Field(SecretStr("sk-secret-1"), description="A key.")


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is logged, at DEBUG; the process's logging is put back afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # put back as well
    levels = {name: logging.getLogger(name).level for name in _LOUD}
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    service_logging.configure("svc", Settings(log_level="DEBUG"), conceal=["another-secret"])
    yield stream
    root.handlers[:], level, sys.excepthook, threading.excepthook = before
    root.setLevel(level)
    for name, value in levels.items():
        logging.getLogger(name).setLevel(value)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def events(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def fail(text: str) -> NoReturn:
    raise RuntimeError(text)


class Color(Enum):
    RED = "red"


def test_an_event_is_one_json_line(out: io.StringIO) -> None:
    structlog.get_logger().info("hello", execution_id="agent-1", n=1, ok=True, nothing=None)
    [event] = events(out)
    moment = event.pop("timestamp")
    assert moment.endswith("Z")
    assert len(moment) == len("2026-01-01T00:00:00.000Z")
    assert datetime.now(UTC) - datetime.fromisoformat(moment) < timedelta(seconds=60)
    assert event == {
        "level": "info",
        "service": "svc",
        "event": "hello",
        "execution_id": "agent-1",
        "n": 1,
        "ok": True,
        "nothing": None,
    }


def test_bound_context_is_in_every_event(out: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(workflow_id="w"):
        structlog.get_logger().info("ours")
        logging.getLogger("a.library").warning("theirs %s", 1)
    ours, theirs = events(out)
    assert ours["workflow_id"] == theirs["workflow_id"] == "w"
    assert (theirs["event"], theirs["logger"]) == ("theirs 1", "a.library")


def test_a_line_leaves_its_record_to_other_handlers(out: io.StringIO) -> None:
    records: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logging.getLogger().addHandler(Keeper())
    structlog.get_logger().info("ours", n=1)
    try:
        fail("deep")
    except RuntimeError:
        logging.getLogger("a.library").exception("theirs", extra={"n": 2})
    ours, theirs = records
    assert ours.__dict__["msg"] == {"event": "ours", "n": 1}
    assert (theirs.getMessage(), theirs.__dict__["n"]) == ("theirs", 2)
    assert theirs.exc_info is not None
    assert events(out)[1]["exception"].endswith("RuntimeError: deep")


def test_what_a_line_has_for_all_events_comes_first(out: io.StringIO) -> None:
    logging.getLogger("a.library").info("theirs", extra={"n": 2})
    assert list(events(out)[0]) == ["timestamp", "level", "service", "event", "logger", "n"]


def test_the_active_span_is_named(out: io.StringIO) -> None:
    context = trace.SpanContext(1, 2, is_remote=False)
    with trace.use_span(trace.NonRecordingSpan(context)):
        structlog.get_logger().info("traced")
    [event] = events(out)
    assert (event["trace_id"], event["span_id"]) == (f"{1:032x}", f"{2:016x}")


def test_values_are_plain(out: io.StringIO) -> None:
    message = agent_pb2.AgentSpec()
    structlog.get_logger().info(
        "values",
        raw=b"bytes",
        proto=message,
        color=Color.RED,
        wait=timedelta(seconds=2),
        id=uuid.UUID(int=1),
        path=Path("a/b"),
        when=datetime(2026, 1, 1, tzinfo=UTC),
        error=ValueError("no"),
        nested={"token": b"x", "list": [1, {"api_key": "k"}], "empty": {"token": ""}},
    )
    [event] = events(out)
    assert event["raw"] == "<bytes>"
    assert event["proto"] == "<AgentSpec>"
    assert (event["color"], event["wait"], event["path"]) == ("red", 2.0, "a/b")
    assert event["when"].startswith("2026-01-01")
    assert event["error"] == "no"
    masked = {"token": "[masked]", "list": [1, {"api_key": "[masked]"}], "empty": {"token": ""}}
    assert event["nested"] == masked


@pytest.mark.parametrize(
    "text",
    [
        repr(TOKEN),
        str(repr(TOKEN)),
        TOKEN.decode("latin-1"),
        TOKEN.hex(),
        base64.b64encode(TOKEN).decode(),
        base64.urlsafe_b64encode(TOKEN).decode(),
        "".join(f"\\x{b:02x}" for b in TOKEN),
        "".join(f"\\{b:03o}" for b in TOKEN),
        str(list(TOKEN)),
        'task_token: "\\n$32049b68-7872-4094-8e63-d0dd59896a83\\022\\010caller-1"',
    ],
)
@pytest.mark.parametrize("way", ["value", "event", "stdlib", "exception", "warning", "key"])
def test_no_shape_of_a_token_passes(out: io.StringIO, text: str, way: str) -> None:
    log = structlog.get_logger()
    if way == "value":
        log.info("leak", value=f"before {text} after")
    elif way == "event":
        log.info(f"leak {text}")
    elif way == "stdlib":
        logging.getLogger("x").warning("leak %s", text, extra={"more": text})
    elif way == "warning":
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.warn(f"Cannot find activity to cancel for token {text}", stacklevel=1)
    elif way == "key":
        log.info("leak", token=text)
    else:
        try:
            fail(f"bad {text}")
        except RuntimeError:
            log.exception("leak")
    [event] = events(out)
    written = out.getvalue()
    assert text not in written
    assert json.dumps(text)[1:-1] not in written
    assert "caller-1" not in written
    assert "[masked]" in json.dumps(event)


def test_secrets_of_settings_and_further_ones_are_masked(out: io.StringIO) -> None:
    structlog.get_logger().info("a sk-secret-1 b", url="https://x/?k=another-secret")
    logging.getLogger("x").error("with %s", "sk-secret-1")
    assert "secret-" not in out.getvalue()
    assert "another-secret" not in out.getvalue()
    assert events(out)[0]["event"] == "a [masked] b"


def test_secrets_of_libraries_are_masked(out: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = "authorization=Basic%20Y29sbGVjdG9yOmtleQ==, x-tenant-key=tenant-0815"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    monkeypatch.setenv("TEMPORAL_API_KEY", "temporal-0816")
    monkeypatch.setattr(sys, "stdout", out)
    registry = SecretStr("postgresql+asyncpg://stigma:p%40ss-0817@db/stigma")
    service_logging.configure("svc", Settings(log_level="DEBUG", key=registry))
    log = structlog.get_logger()
    for text in (
        "Y29sbGVjdG9yOmtleQ==",
        "tenant-0815",
        "temporal-0816",
        "p%40ss-0817",
        "p@ss-0817",
    ):
        log.info(f"said {text} there")
    assert [event["event"] for event in events(out)] == ["said [masked] there"] * 5


def test_an_event_that_cannot_be_written_is_not_quoted(
    out: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What logging says by default quotes the arguments."""
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", errors)
    service_logging.configure("svc", Settings())  # without pytest's handler, which would raise
    logging.getLogger("a.library").info("said %d", "sk-secret-1")
    said = errors.getvalue()
    assert said.startswith("an event of a.library (")
    assert said.endswith("was not logged: TypeError\n")
    assert "secret" not in said
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET /x?key=abc&page=2", "GET /x?key=[masked]&page=2"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer [masked]"),
        ("connect postgresql://u:pw@db/x", "connect postgresql://u:[masked]@db/x"),
        ("run(api_key='abc', n=1)", "run(api_key='[masked]', n=1)"),
        ('{"password": "a b", "n": 1}', '{"password": "[masked]", "n": 1}'),
        ("callback_token: is not a task token", "callback_token: is not a task token"),
        ("max_tokens=100 token_length=186", "max_tokens=100 token_length=186"),
        ("reviewer@3 a=b", "reviewer@3 a=b"),
        ("basic authentication failed", "basic authentication failed"),
    ],
)
def test_what_is_given_as_a_credential_is_masked(out: io.StringIO, text: str, shown: str) -> None:
    logging.getLogger("x").info(text)
    assert events(out)[0]["event"] == shown


def test_what_is_no_token_stays(out: io.StringIO) -> None:
    digest, path = "a" * 64, "/usr/lib/python3.11/site-packages/temporalio/worker/_activity.py"
    fields = {"spec_digest": digest, "path": path, "execution_id": "agent-" + "0" * 32}
    structlog.get_logger().info("fine", callback_fingerprint="0c" * 6, token_length=128, **fields)
    [event] = events(out)
    assert event | fields | {"token_length": 128, "callback_fingerprint": "0c" * 6} == event


@pytest.mark.parametrize(
    ("logger", "level", "shown"),
    [
        ("temporalio.worker._workflow", logging.DEBUG, False),
        ("temporalio.worker._workflow", logging.WARNING, True),
        ("temporalio.activity", logging.DEBUG, True),
        ("httpx", logging.INFO, False),
        ("httpx", logging.WARNING, True),
        ("httpx2", logging.INFO, False),
        ("httpcore2.http11", logging.INFO, False),
        ("httpcore2.http11", logging.WARNING, True),
        ("any.library", logging.DEBUG, False),
        ("any.library", logging.INFO, True),
    ],
)
def test_only_our_own_may_go_below_info(
    out: io.StringIO, logger: str, level: int, shown: bool
) -> None:
    logging.getLogger(logger).log(level, "said")
    assert len(events(out)) == shown


def test_levels_opened_behind_our_back_stay_closed(
    out: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("temporalio.worker"), "level", logging.DEBUG)
    logging.getLogger("temporalio.worker").debug("Received workflow activation:\n%s", TOKEN)
    assert events(out) == []


@dataclass
class CoreLog:
    target: str = "temporalio_sdk_core::worker"
    message: str = "Activity not found on completion"
    level: int = logging.WARNING
    time: float = 1_700_000_000.5
    fields: dict[str, Any] = field(
        default_factory=lambda: {"task_token": "AAAA", "error": "gone", "completion": "prompt"}
    )


def test_of_core_only_known_fields_pass(out: io.StringIO) -> None:
    forwarding = service_logging.core_logging().forwarding
    assert forwarding is not None
    forwarding._on_logs([CoreLog()])
    [event] = events(out)
    assert event == {
        "timestamp": "2023-11-14T22:13:20.500Z",
        "level": "warning",
        "service": "svc",
        "event": "Activity not found on completion",
        "logger": "temporalio.core",
        "target": "temporalio_sdk_core::worker",
        "error": "gone",
    }


def test_workflow_details_are_fields(out: io.StringIO) -> None:
    extra = {"temporal_workflow": {"workflow_id": "w", "attempt": 1}, "execution_id": "e"}
    logging.getLogger("temporalio.workflow").info("delivering", extra=extra)
    [event] = events(out)
    assert (event["event"], event["workflow_id"], event["execution_id"]) == ("delivering", "w", "e")
    assert "temporal_workflow" not in event


def test_a_crash_is_an_event(out: io.StringIO) -> None:
    def crash() -> None:
        raise RuntimeError("sk-secret-1")

    thread = threading.Thread(target=crash)
    thread.start()
    thread.join()
    sys.excepthook(RuntimeError, RuntimeError("main"), None)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    thread_event, main_event = events(out)
    assert thread_event["event"] == main_event["event"] == "crashed"
    assert "RuntimeError: [masked]" in thread_event["exception"]


def test_pretty_is_for_people(out: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", out)
    service_logging.configure("svc", Settings(log_format="pretty"))
    secret = "sk-secret-1"
    try:
        fail(secret)
    except RuntimeError:
        structlog.get_logger().exception("hello", execution_id="agent-1")
    assert "hello" in out.getvalue()
    assert "execution_id=agent-1" in out.getvalue()
    assert secret not in out.getvalue()
