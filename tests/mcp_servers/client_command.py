"""The client that the conformance suite starts: `client_command.py PORT URL`.

It gives the test at PORT the URL of the suite's server, and ends when the test's agents have.
"""

from __future__ import annotations

import json
import os
import socket
import sys


def main() -> int:
    """Return 0 when the agents have ended as the test wants it."""
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as test:
        test.sendall(json.dumps({"url": sys.argv[2], "context": context}).encode() + b"\n")
        problem = test.makefile("rb").read()
    sys.stderr.buffer.write(problem)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
