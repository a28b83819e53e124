"""The size of the trailers of refusals: many clients take 8 KiB of them, Java's no more."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

from stigma_api import errors

LIMIT = 8 * 1024
# What HTTP/2 counts of each, besides its name and value.
_OVERHEAD = 32
_PLAIN = "".join(map(chr, range(32, 127))).replace("%", "")


def size_of(error: errors.ApiError) -> int:
    """The size of a status's trailers as HTTP/2 counts them."""
    [(name, details)] = error.to_grpc().trailing_metadata
    assert isinstance(details, bytes)
    sent = {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-status": "3",
        "grpc-message": quote(error.message, safe=_PLAIN),
        name: base64.b64encode(details).decode(),
    }
    return sum(len(key) + len(value) + _OVERHEAD for key, value in sent.items())


@pytest.mark.parametrize("character", ["x", "%", "ö", "🙂", "\\"])
@pytest.mark.parametrize("length", [1, 5, 60, 400])
@pytest.mark.parametrize("field", ["workflow.spec.document", "agent.labels.ö" + "ü" * 400])
def test_violations_fit_in_trailers(character: str, length: int, field: str) -> None:
    for count in (1, 5, 20, 100, 5000):
        error = errors.invalid_argument([(field, character * length)] * count)
        assert size_of(error) <= LIMIT - 256  # for what proxies add
        assert error.fields
        assert len(error.violations) == count
