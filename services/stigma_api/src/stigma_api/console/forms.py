"""Forms that browsers send, and paths to return to."""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.requests import Request

from stigma_api import errors

_MAX_FIELDS = 10


async def read_form(request: Request, max_bytes: int) -> dict[str, str]:
    """Return the fields of a form that are not empty.

    Raises:
        ApiError: INVALID_ARGUMENT; it is longer than `max_bytes`, or no form.
    """
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > max_bytes:
            raise errors.invalid_argument([("form", f"has more than {max_bytes} bytes")])
    try:
        fields = parse_qs(content.decode(), max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise errors.invalid_argument([("form", "cannot be read")]) from None
    return {name: values[0] for name, values in fields.items()}


def own_path(path: str) -> str:
    """Return a path of ours, or the home page: browsers take `//x` for a host."""
    is_own = path.startswith("/") and path[1:2] not in {"/", "\\"} and path.isprintable()
    return path if is_own else "/"
