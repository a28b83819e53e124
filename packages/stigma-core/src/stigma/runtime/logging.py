"""One line a log event, and the filter that keeps tokens, keys and prompts out of it.

Everything that logs in the process, structlog or stdlib, ours or a library's, ends in the one
handler set up here. What it logs is narrowed three times:

1. By origin. Only Stigma's own loggers and the SDK's activity and workflow loggers (which our
   code writes to) may go below INFO. Libraries dump payloads at DEBUG: the Temporal SDK whole
   tasks with their tokens, model clients whole prompts. Temporal's core logs task tokens even
   at WARN: its records come in by `core_logging`, and only the fields named here pass.
2. By type. Bytes, messages and other objects are shown as their type, never as their content.
3. By content. Whatever text is left is searched for secrets, see `Redaction`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, TextIO

import structlog
import temporalio.activity
import temporalio.runtime
import temporalio.workflow

from stigma.runtime.log_lines import OWN_LOGGER, LineFormatter
from stigma.runtime.redaction import Redaction
from stigma.runtime.settings import ServiceSettings, secrets

_CORE = "temporalio.core"
_SDK_LOGGERS_AT_OUR_LEVEL = ("temporalio.activity", "temporalio.workflow")
# Loggers that at INFO log whole URLs, of which some providers make the key a part, or headers.
_QUIETED_LOGGERS = (
    *("httpx", "httpcore", "httpx2", "httpcore2", "urllib3", "hpack"),
    *("mcp", "openai", "anthropic"),
)

_OTLP_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")


def configure(service: str, settings: ServiceSettings, *, conceal: Iterable[str] = ()) -> None:
    """Set up logging for this process; calling it again replaces the set-up.

    Args:
        service: name of the service, a field of every event.
        settings: level and format; its secret fields are concealed.
        conceal: further secrets, which are masked wherever they occur.
    """
    redaction = Redaction([*secrets(settings), *_secrets_of_environment(), *conceal])
    handler = _LineHandler(sys.stdout, redaction)
    handler.setFormatter(LineFormatter(service, redaction, _renderer(settings)))
    handler.addFilter(_is_useful)
    level = logging.getLevelNamesMapping()[settings.log_level]
    _route(handler, level)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_OwnLoggerFactory(),
        cache_logger_on_first_use=False,
    )


def core_logging() -> temporalio.runtime.LoggingConfig:
    """Return the logging of Temporal's core: into our handler, from WARN up, without its fields."""
    return temporalio.runtime.LoggingConfig(
        filter=temporalio.runtime.TelemetryFilter(core_level="WARN", other_level="ERROR"),
        forwarding=temporalio.runtime.LogForwardingConfig(
            logger=logging.getLogger(_CORE),
            append_target_to_name=False,
            prepend_target_on_message=False,
            append_log_fields_to_message=False,
        ),
    )


def redaction() -> Redaction:
    """Return the redaction of this process's log, for what leaves it by other ways, as spans do."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _LineHandler):
            return handler.redaction
    return Redaction()


class _LineHandler(logging.StreamHandler[TextIO]):
    """Writes the lines."""

    def __init__(self, stream: TextIO, redaction: Redaction) -> None:
        super().__init__(stream)
        self.redaction = redaction

    # The default quotes the arguments of the event, raw.
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class's name
        error = sys.exc_info()[0]
        reason = error.__name__ if error is not None else "unknown"
        place = f"{record.pathname}:{record.lineno}"
        with contextlib.suppress(OSError, ValueError):  # stderr may be gone as well
            sys.stderr.write(f"an event of {record.name} ({place}) was not logged: {reason}\n")


class _OwnLoggerFactory:
    """Gives every structlog logger the name that distinguishes our own events from others."""

    def __call__(self, *_args: object) -> logging.Logger:
        return logging.getLogger(OWN_LOGGER)


def _secrets_of_environment() -> Iterator[str]:
    """Yield the secrets of libraries, whose variables are no settings of ours."""
    yield os.environ.get("TEMPORAL_API_KEY", "")
    for variable in _OTLP_HEADERS:
        for header in os.environ.get(variable, "").split(","):
            value = header.partition("=")[2].strip()
            yield from (value, decoded := urllib.parse.unquote(value))
            yield decoded.partition(" ")[2]  # after a scheme such as Basic


def _route(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    for name in (OWN_LOGGER, *_SDK_LOGGERS_AT_OUR_LEVEL):
        logging.getLogger(name).setLevel(level)
    for name in _QUIETED_LOGGERS:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    # The SDK would append a Python dict to the message; `_from_temporal` makes fields of it.
    temporalio.activity.logger.activity_info_on_message = False
    temporalio.workflow.logger.workflow_info_on_message = False
    logging.captureWarnings(True)
    sys.excepthook = _log_crash
    threading.excepthook = _log_thread_crash
    sys.unraisablehook = _log_unraisable


def _is_useful(record: logging.LogRecord) -> bool:
    """Filter by level again: libraries and users change levels of loggers at run time."""
    if record.levelno >= logging.INFO or record.name == OWN_LOGGER:
        return True
    return record.name.startswith(_SDK_LOGGERS_AT_OUR_LEVEL)


def _renderer(settings: ServiceSettings) -> Callable[[dict[str, Any]], str]:
    pretty = settings.log_format == "pretty" or (
        settings.log_format == "auto" and sys.stdout.isatty()
    )
    if not pretty:
        return json.JSONEncoder().encode
    console = structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
    return lambda fields: console(None, "", fields)


def _log_crash(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(OWN_LOGGER).critical("crashed", exc_info=(kind, error, traceback))


def _log_thread_crash(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _log_crash(args.exc_type, args.exc_value, args.exc_traceback)


def _log_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Log an error where nothing can be raised: in a finalizer, or an interpreter callback."""
    error = unraisable.exc_value
    if error is not None:
        information = (type(error), error, unraisable.exc_traceback)
        logging.getLogger(OWN_LOGGER).error("unraisable", exc_info=information)
