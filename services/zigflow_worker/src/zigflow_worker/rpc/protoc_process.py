"""Runs protoc in a process of its own, within limits: `protoc_process.py ARGUMENT...`.

Protos come from anywhere, and protoc is native code that nothing interrupts.
"""

from __future__ import annotations

import resource
import sys

CPU_SECONDS = 10
MEMORY_BYTES = 1024 * 1024 * 1024
FILE_BYTES = 16 * 1024 * 1024


def main() -> int:
    """Run protoc; return its exit code."""
    for kind, limit in (
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))
    from grpc_tools import protoc  # noqa: PLC0415 - within the limits

    return int(protoc.main(sys.argv))


if __name__ == "__main__":
    sys.exit(main())
