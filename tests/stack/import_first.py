"""Imports each of our modules before any other of ours; prints what cannot be. Run by a test.

A process forked for each has other people's packages loaded, and none of ours: as in a fresh
interpreter, and many times as fast.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Iterator

from tests.stack.fork_server import libraries, sources


def modules() -> Iterator[str]:
    """Yield the name of every module of packages/ and services/ that is not generated."""
    for source in sources():
        for path in sorted(source.rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            generated = "migrations" in parts or "_pb2" in parts[-1]
            if parts[-1] != "__main__" and not generated:
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def can_be_first(module: str) -> bool:
    """Import a module in a process of its own, whose traceback goes to stderr."""
    child = os.fork()
    if child == 0:
        importlib.import_module(module)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def main() -> int:
    """Try all modules; the exit code is 1 when one failed."""
    names = list(modules())
    for library in libraries():
        # Some parts of a package cannot be loaded before others.
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    # Children neither search nor copy what all of them have.
    gc.freeze()
    gc.disable()
    broken = [name for name in names if not can_be_first(name)]
    sys.stdout.write(f"{len(names)} modules, broken: {', '.join(broken) or 'none'}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
