"""One line a log event, and the filter that keeps tokens, keys and prompts out of it.

Everything that logs in the process, structlog or stdlib, ours or a library's, ends in the one
handler set up here. What it may say is narrowed three times:

1. By origin. Only Stigma's own loggers and the SDK's activity and workflow loggers (which our
   code writes to) may go below INFO. Libraries dump payloads at DEBUG: the Temporal SDK whole
   tasks with their tokens, model clients whole prompts. Temporal's core says task tokens even
   at WARN: its records come in by `core_logging`, and only the fields named here pass.
2. By type. Bytes, messages and other objects are shown as their type, never as their content.
3. By shape. Whatever text is left is searched for what a token looks like, and for the secrets
   of the settings.
"""

import logging
import os
import re
import sys
import threading
from collections.abc import Iterable, Mapping, MutableMapping
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import PurePath
from types import TracebackType
from typing import Any
from uuid import UUID

import structlog
import temporalio.activity
import temporalio.runtime
import temporalio.workflow
from opentelemetry import trace

from stigma.runtime.settings import ServiceSettings, secrets

_OWN = "stigma"
_CORE = "temporalio.core"
_SDK_TO_OUR_LEVEL = ("temporalio.activity", "temporalio.workflow")
# Said at INFO: whole URLs, of which some providers make the key a part.
_QUIET = ("httpx", "httpcore", "urllib3", "hpack", "mcp", "openai", "anthropic")

_MASK = "[masked]"
_SHORTEST_TOKEN = 60
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_TOKEN_SHAPES = re.compile(
    "|".join(
        (
            # A token starts with field 1, 36 bytes long: the namespace id. Raw, repr or octal.
            rf"(?:\n|\\n|\\012|\\x0a|\\x0A)\${_UUID}[^\"'`]*",
            r"(?:[A-Za-z0-9+/_\-]|\\n){100,}={0,2}",  # base64 (hex is within)
            r"(?:\\x[0-9a-fA-F]{2}|\\[0-3][0-7]{2}){24,}",  # escaped bytes
            r"(?:\b\d{1,3},\s*){40,}\d{1,3}\b",  # a list of byte values
        )
    )
)
_SECRET_NAMES = frozenset(
    {"token", "callback_token", "task_token", "api_key", "authorization", "password", "secret"}
    | {"prompt", "messages"}
)
_CORE_FIELDS = frozenset(
    {"error", "service", "method", "attempt", "workflow_id", "run_id", "activity_id"}
    | {"activity_type", "task_queue", "namespace", "reason", "call_name"}
)


def configure(service: str, settings: ServiceSettings, *, conceal: Iterable[str] = ()) -> None:
    """Sets up logging for this process; calling it again replaces the set-up.

    Args:
        service: name of the service, a field of every event.
        settings: level and format; its secret fields are concealed.
        conceal: further secrets, which are masked wherever they occur.
    """
    hidden = [*secrets(settings), os.environ.get("TEMPORAL_API_KEY", ""), *conceal]
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[
            _with_level,
            _describe(service),
            structlog.processors.format_exc_info,
            _Censor(hidden),
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _renderer(settings),
        ],
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), _from_temporal],
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    handler.addFilter(_of_use)
    level = logging.getLevelNamesMapping()[settings.log_level]
    _route(handler, level)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_OwnLogger(),
        cache_logger_on_first_use=False,
    )


def core_logging() -> temporalio.runtime.LoggingConfig:
    """Temporal's core logs into the handler of `configure`, from WARN up, without its fields."""
    return temporalio.runtime.LoggingConfig(
        filter=temporalio.runtime.TelemetryFilter(core_level="WARN", other_level="ERROR"),
        forwarding=temporalio.runtime.LogForwardingConfig(
            logger=logging.getLogger(_CORE),
            append_target_to_name=False,
            prepend_target_on_message=False,
            append_log_fields_to_message=False,
        ),
    )


def masked(text: str, hidden: Iterable[str] = ()) -> str:
    """`text` with everything in it that looks like a token, or is one of `hidden`, masked."""
    for secret in hidden:
        if secret:
            text = text.replace(secret, _MASK)
    # Nearly every value is shorter than any token: spare those the search.
    return text if len(text) < _SHORTEST_TOKEN else _TOKEN_SHAPES.sub(_MASK, text)


class _OwnLogger:
    """Gives every structlog logger the name by which our own events are told from others."""

    def __call__(self, *_args: object) -> logging.Logger:
        return logging.getLogger(_OWN)


class _Censor:
    """The last processor before the renderer: makes every value plain and masked."""

    def __init__(self, hidden: Iterable[str]) -> None:
        self._hidden = tuple(sorted({h for h in hidden if h}, key=len, reverse=True))

    def __call__(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        for key, value in event.items():
            if not key.startswith("_"):
                event[key] = self._plain(key, value)
        return event

    def _plain(self, key: str, value: object) -> object:
        if value and key.lower() in _SECRET_NAMES:
            return _MASK
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return masked(str(value), self._hidden)
        if isinstance(value, Mapping):
            return {str(k): self._plain(str(k), v) for k, v in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._plain("", v) for v in value]
        return self._shown(value)

    def _shown(self, value: object) -> object:
        if isinstance(value, Enum):
            return self._plain("", value.value)
        if isinstance(value, timedelta):
            return value.total_seconds()
        if isinstance(value, date | datetime):
            return value.isoformat()
        if isinstance(value, UUID | PurePath | BaseException):
            return masked(str(value), self._hidden)
        return f"<{type(value).__name__}>"


def _route(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    for name in (_OWN, *_SDK_TO_OUR_LEVEL):
        logging.getLogger(name).setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    # The SDK would append a Python dict to the message; `_from_temporal` makes fields of it.
    temporalio.activity.logger.activity_info_on_message = False
    temporalio.workflow.logger.workflow_info_on_message = False
    logging.captureWarnings(True)
    sys.excepthook = _log_crash
    threading.excepthook = _log_thread_crash


def _of_use(record: logging.LogRecord) -> bool:
    """Levels can be changed behind our back (`logging.getLogger("temporalio").setLevel`)."""
    if record.levelno >= logging.INFO or record.name == _OWN:
        return True
    return record.name.startswith(_SDK_TO_OUR_LEVEL)


def _with_level(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    record: logging.LogRecord = event["_record"]
    event["level"] = record.levelname.lower()
    return event


def _describe(service: str) -> Any:
    def describe(
        _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        record: logging.LogRecord = event["_record"]
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        head: dict[str, Any] = {
            "timestamp": moment.replace("+00:00", "Z"),
            "level": event.pop("level"),
            "service": service,
            "event": event.pop("event", ""),
        }
        if record.name != _OWN:
            head["logger"] = record.name
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            head["trace_id"] = trace.format_trace_id(context.trace_id)
            head["span_id"] = trace.format_span_id(context.span_id)
        return {**head, **event}

    return describe


def _from_temporal(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Makes the SDK's structured extras fields; of core's own fields only the known pass."""
    for extra in ("temporal_activity", "temporal_workflow"):
        for key, value in (event.pop(extra, None) or {}).items():
            event.setdefault(key, value)
    event.pop("__temporal_error_identifier", None)
    core = event.pop("temporal_log", None)
    if core is not None:
        event["target"] = core.target
        event.update({k: v for k, v in core.fields.items() if k in _CORE_FIELDS})
    for key, value in structlog.contextvars.get_contextvars().items():
        event.setdefault(key, value)
    return event


def _renderer(settings: ServiceSettings) -> Any:
    pretty = settings.log_format == "pretty" or (
        settings.log_format == "auto" and sys.stdout.isatty()
    )
    if pretty:
        return structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
    return structlog.processors.JSONRenderer()


def _log_crash(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(_OWN).critical("crashed", exc_info=(kind, error, traceback))


def _log_thread_crash(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _log_crash(args.exc_type, args.exc_value, args.exc_traceback)
