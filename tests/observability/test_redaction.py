"""No secret comes out of any way in which a service says something, in whatever form."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import string
import sys
import threading
import urllib.parse
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, Status, StatusCode
from pydantic import Field, SecretStr

from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.internal.v1.execution_pb2 import Bind
from stigma.internal.v1.task_token_pb2 import TaskToken
from stigma.runtime import logging as service_logging
from stigma.runtime.settings import ServiceSettings
from stigma.runtime.telemetry import _WithoutContent
from tests.integration.secrets_search import leaks

PIECE = 16
"""So many characters of what was written are a leak."""


class Settings(ServiceSettings):
    """Of a service with a secret."""

    key: SecretStr = Field(SecretStr(""), description="A key.")


# How a secret gets into a text.

FORMS: dict[str, Callable[[bytes], str]] = {
    "text": lambda s: s.decode("utf-8", "replace"),
    "latin-1": lambda s: s.decode("latin-1"),
    "hex": lambda s: s.hex(),
    "HEX": lambda s: s.hex().upper(),
    "hex with colons": lambda s: s.hex(":"),
    "base64": lambda s: base64.b64encode(s).decode(),
    "base64, unpadded": lambda s: base64.b64encode(s).decode().rstrip("="),
    "base64, url-safe": lambda s: base64.urlsafe_b64encode(s).decode(),
    "base64, url-safe, unpadded": lambda s: base64.urlsafe_b64encode(s).decode().rstrip("="),
    "base64 in lines": lambda s: base64.encodebytes(s).decode(),
    "base64 within": lambda s: base64.b64encode(b"x" + s + b"yz").decode(),
    "base64 in a URL": lambda s: urllib.parse.quote(base64.b64encode(s), safe=""),
    "percent": lambda s: urllib.parse.quote(s, safe=""),
    "percent, plus": urllib.parse.quote_plus,
    "percent, all": lambda s: "".join(f"%{byte:02x}" for byte in s),
    "repr": repr,
    "repr of text": lambda s: repr(s.decode("utf-8", "replace")),
    "repr in repr": lambda s: repr(repr(s)),
    "JSON": lambda s: json.dumps(s.decode("utf-8", "replace")),
    "JSON in JSON": lambda s: json.dumps(json.dumps(s.decode("utf-8", "replace"))),
    "list": lambda s: str(list(s)),
    "octal": lambda s: "".join(f"\\{byte:03o}" for byte in s),
    "hex escapes": lambda s: "".join(f"\\x{byte:02x}" for byte in s),
    "message": lambda s: str(StartAgentRequest(callback_token=s)),
    "message in a line": lambda s: " ".join(str(Bind(token=s)).split("\n")),
    "in a header": lambda s: f"authorization: Bearer {s.decode('utf-8', 'replace')}",
}


# The ways in which a service says something. Each gets a text and the secret itself.


def failure(text: str, secret: bytes) -> Exception:
    """A failure with a traceback, a cause, notes and parts, all quoting the text."""
    cause = ValueError(text)
    cause.add_note(f"note {text}")
    error = ExceptionGroup("several", [KeyError(text), RuntimeError(1, secret)])
    error.__cause__ = cause
    try:
        raise error
    except ExceptionGroup as caught:
        return caught


def in_event(text: str, _: bytes) -> None:
    structlog.get_logger().info(text)


def in_positional_arguments(text: str, _: bytes) -> None:
    half = len(text) // 2
    structlog.get_logger().warning("said %s%s", text[:half], text[half:])


def in_value(text: str, secret: bytes) -> None:
    structlog.get_logger().info("said", value=text, raw=secret, array=bytearray(secret))


def in_secret_names(text: str, secret: bytes) -> None:
    structlog.get_logger().info("said", token=text, _private=text, api_key=secret)


def in_nested_value(text: str, secret: bytes) -> None:
    nested = {"list": [text, {"deep": (text, secret)}], text: 1, "error": ValueError(text)}
    structlog.get_logger().info("said", nested=nested, message=Bind(token=secret))


def in_bound_context(text: str, _: bytes) -> None:
    with structlog.contextvars.bound_contextvars(bound=text):
        structlog.get_logger().info("said")
        logging.getLogger("a.library").warning("said")


def in_arguments(text: str, secret: bytes) -> None:
    logging.getLogger("a.library").error("said %r %s %s", text, secret, {"k": secret})


def in_split_arguments(text: str, _: bytes) -> None:
    third = len(text) // 3
    parts = (text[:third], text[third : 2 * third], text[2 * third :])
    logging.getLogger("a.library").error("said %s%s%s", *parts)


def in_extra(text: str, secret: bytes) -> None:
    extra = {"more": text, "raw": secret, "_hidden": {"k": text}}
    logging.getLogger("a.library").info("said", extra=extra)


def in_wrong_arguments(text: str, secret: bytes) -> None:
    logging.getLogger("a.library").info("said %d %s", text, secret)


def in_logger_name(text: str, _: bytes) -> None:
    logging.getLogger("a.library").handle(
        logging.LogRecord(text, logging.INFO, text, 1, "said", (), None)
    )


def in_exception(text: str, secret: bytes) -> None:
    error = failure(text, secret)
    structlog.get_logger().error("failed", exc_info=error)
    logging.getLogger("a.library").error("failed", exc_info=error)


def in_stack(text: str, _: bytes) -> None:
    logging.getLogger("a.library").error("said %s", text, stack_info=True)


def in_crash(text: str, secret: bytes) -> None:
    error = failure(text, secret)
    sys.excepthook(type(error), error, error.__traceback__)
    arguments = (type(error), error, error.__traceback__, threading.current_thread())
    threading.excepthook(threading.ExceptHookArgs(arguments))
    unraisable = SimpleNamespace(
        exc_type=type(error),
        exc_value=error,
        exc_traceback=error.__traceback__,
        err_msg=text,
        object=text,
    )
    sys.unraisablehook(unraisable)


def in_warning(text: str, _: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(text, stacklevel=1)


def in_event_loop(text: str, secret: bytes) -> None:
    loop = asyncio.new_event_loop()
    context = {
        "message": text,
        "exception": failure(text, secret),
        "future": secret,
        "handle": text,
    }
    loop.call_exception_handler(context)
    loop.close()


def in_grpc(text: str, secret: bytes) -> None:
    logging.getLogger("grpc._cython.cygrpc").error("Exception calling %s", text)
    logging.getLogger("grpc.aio._server").error(
        "Unexpected [%s]", text, exc_info=failure(text, secret)
    )


def in_temporal(text: str, secret: bytes) -> None:
    extra = {"temporal_activity": {"activity_id": text, "more": secret, "note": [text]}}
    logging.getLogger("temporalio.activity").warning("Completing %s", text, extra=extra)
    logging.getLogger("temporalio.workflow").debug("said %s", text)
    logging.getLogger("temporalio.worker._activity").debug("Running task %s", text)


@dataclass
class CoreLog:
    """A line of Temporal's core, as it is handed to Python."""

    message: str
    fields: dict[str, Any]
    target: str = "temporalio_sdk_core::worker"
    level: int = logging.WARNING
    time: float = 1_700_000_000.5


def in_core(text: str, secret: bytes) -> None:
    forwarding = service_logging.core_logging().forwarding
    assert forwarding is not None
    fields = {"error": text, "task_token": list(secret), "details": text, "reason": {"k": text}}
    forwarding._on_logs([CoreLog(text, fields)])


def in_web_server(text: str, secret: bytes) -> None:
    """As uvicorn and starlette log; `?key=` is for keys that the process does not hold."""
    access = logging.getLogger("uvicorn.access")
    path = f"/executions?key={urllib.parse.quote(secret, safe='')}&q={text}"
    access.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", path, "1.1", 200)
    error = logging.getLogger("uvicorn.error")
    error.error("Exception in ASGI application %s\n", text, exc_info=failure(text, secret))


@dataclass
class Spans:
    """A service's spans, as they are sent."""

    sent: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    def say(self, text: str, secret: bytes) -> None:
        """Put it wherever a span has room."""
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(_WithoutContent(self.sent)))
        context = SpanContext(1, 2, is_remote=True)
        with (
            contextlib.suppress(ExceptionGroup),
            provider.get_tracer("t").start_as_current_span(
                f"name {text}", links=[Link(context, {"link": text})]
            ) as span,
        ):
            span.set_attributes({"a": text, "list": [text, "plain"], "raw": secret, text: 1})
            span.add_event(f"event {text}", {"b": text})
            span.record_exception(ValueError(text))
            span.set_status(Status(StatusCode.ERROR, text))
            raise failure(text, secret)

    def told(self) -> str:
        """Everything that was sent."""
        return "".join(
            span.to_json() + repr(span.attributes) for span in self.sent.get_finished_spans()
        )


WAYS: list[Callable[[str, bytes], None]] = [
    *(in_event, in_positional_arguments, in_value, in_secret_names, in_nested_value),
    *(in_bound_context, in_arguments, in_split_arguments, in_extra, in_wrong_arguments),
    *(in_logger_name, in_exception, in_stack, in_crash, in_warning, in_event_loop, in_grpc),
    *(in_temporal, in_core, in_web_server),
]


# What is secret.

_CHARACTERS = string.ascii_letters + string.digits + string.punctuation + " äßλ語"
KEYS = st.text(_CHARACTERS, min_size=12, max_size=90).filter(lambda key: len(set(key)) > 6)
IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)


@st.composite
def task_tokens(draw: st.DrawFn) -> bytes:
    """Tokens as Temporal makes them, of workflows with any id."""
    return TaskToken(
        namespace_id=str(draw(st.uuids())),
        workflow_id=draw(IDS),
        run_id=str(draw(st.uuids())),
        scheduled_event_id=draw(st.integers(1, 50_000)),
        attempt=draw(st.integers(1, 1_000)),
        activity_id=draw(st.sampled_from(["1", "agent-" + str(uuid.UUID(int=7))])),
    ).SerializeToString() + draw(st.binary(max_size=40))


@contextlib.contextmanager
def service(key: str, log_format: str) -> Iterator[io.StringIO]:
    """A process that logs as a service does; what it wrote to stdout and stderr."""
    root, out = logging.getLogger(), io.StringIO()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook)
    hooks = (sys.unraisablehook, sys.stdout, sys.stderr)
    sys.stdout = sys.stderr = out
    try:
        chosen = Settings(log_level="DEBUG", log_format=log_format, key=SecretStr(key))
        service_logging.configure("svc", chosen)
        yield out
    finally:
        sys.unraisablehook, sys.stdout, sys.stderr = hooks
        root.handlers[:], level, sys.excepthook, threading.excepthook = before
        root.setLevel(level)
        for name in ("stigma", "temporalio.activity", "temporalio.workflow"):
            logging.getLogger(name).setLevel(logging.NOTSET)
        logging.captureWarnings(False)
        structlog.reset_defaults()


def assert_silent(output: str, secret: bytes, form: str) -> None:
    """Assert that the secret is in the output in no form, nor a piece of how it was written."""
    assert leaks({"secret": secret}, {"the output": output.encode(errors="replace")}) == []
    for quoted in (str, json.dumps, partial(json.dumps, ensure_ascii=False)):
        core = _core(quoted(FORMS[form](secret)), quoted(FORMS[form](b"?")))
        size = min(PIECE, len(core))
        assert not _pieces(output, size) & _pieces(core, size), output


def _core(written: str, harmless: str) -> str:
    """What of it is the secret's, and not what every secret is surrounded by."""
    start = _common(written, harmless)
    end = _common(written[start:][::-1], harmless[start:][::-1])
    return written[start : len(written) - end]


def _common(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def _pieces(text: str, size: int) -> set[str]:
    return {text[start : start + size] for start in range(len(text) - size + 1)}


_FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("form", list(FORMS))
@given(key=KEYS, way=st.sampled_from(WAYS), log_format=st.sampled_from(["json", "pretty"]))
@settings(_FUZZ, max_examples=20)
def test_no_key_is_logged(form: str, key: str, way: Any, log_format: str) -> None:
    """A key of a model provider or of the API, a password of the registry: the process holds it."""
    secret = key.encode()
    with service(key, log_format) as out:
        way(f"said {FORMS[form](secret)} then", secret)
    assert_silent(out.getvalue(), secret, form)


@pytest.mark.parametrize("form", list(FORMS))
@given(
    token=task_tokens(), way=st.sampled_from(WAYS), log_format=st.sampled_from(["json", "pretty"])
)
@settings(_FUZZ, max_examples=20)
def test_no_token_is_logged(form: str, token: bytes, way: Any, log_format: str) -> None:
    """A callback token only passes through: it is known by its shape."""
    with service("", log_format) as out:
        way(f"said {FORMS[form](token)} then", token)
    assert_silent(out.getvalue(), token, form)


@given(secret=KEYS.map(str.encode) | task_tokens(), form=st.sampled_from(list(FORMS)))
@settings(_FUZZ, max_examples=3 * len(FORMS))
def test_none_is_in_a_span(secret: bytes, form: str) -> None:
    spans = Spans()
    with service(secret.decode("utf-8", "replace"), "json"):
        spans.say(f"said {FORMS[form](secret)} then", secret)
    assert_silent(spans.told(), secret, form)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_each_way_says_something(way: Any) -> None:
    """What is never written cannot leak: each way writes, and what is no secret stays."""
    with service("a-key-of-the-process", "json") as out:
        way("nothing secret", b"nothing secret")
    assert out.getvalue().strip()
