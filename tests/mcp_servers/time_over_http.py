"""mcp-server-time over HTTP, which it does not serve itself: `time_over_http.py PORT HOLD`.

While the file HOLD exists, calls are not answered, and the file HOLD.held says that there is one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from mcp_server_time.server import create_server  # type: ignore[import-untyped]

HOLD = Path(sys.argv[2])


async def _hold(ctx: Any, call_next: Any) -> Any:
    if ctx.method == "tools/call" and _is_held():
        await anyio.sleep_forever()
    return await call_next(ctx)


def _is_held() -> bool:
    if HOLD.exists():
        HOLD.with_suffix(".held").touch()
    return HOLD.exists()


if __name__ == "__main__":
    server = create_server("UTC")
    server.middleware.append(_hold)
    app: Any = server.streamable_http_app()
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")
