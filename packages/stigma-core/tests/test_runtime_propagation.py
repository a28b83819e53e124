"""The environment's formats of a trace's context."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from stigma.runtime.propagation import warn_of_ignored_formats


@pytest.mark.parametrize(
    ("configured", "ignored"),
    [
        ("tracecontext,baggage", None),
        ("", None),
        ("tracecontext, b3,jaeger", ["b3", "jaeger"]),
    ],
)
def test_ignored_formats_are_named(
    monkeypatch: pytest.MonkeyPatch, configured: str, ignored: list[str] | None
) -> None:
    monkeypatch.setenv("OTEL_PROPAGATORS", configured)
    with capture_logs() as logs:
        warn_of_ignored_formats()
    assert [log["formats"] for log in logs] == ([ignored] if ignored else [])
