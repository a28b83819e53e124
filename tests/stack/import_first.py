"""Imports each of our modules before any other of ours; prints what cannot be. Run by a test.

A process forked for each has other people's packages loaded, and none of ours: as in a fresh
interpreter, and many times as fast.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def modules() -> Iterator[str]:
    """Yield the name of every module of packages/ and services/."""
    for source in _sources():
        for path in sorted(source.rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            if parts[-1] != "__main__" and "migrations" not in parts:
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
    for library in _libraries(names):
        # Some parts of a package cannot be loaded before others.
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    # Children neither search nor copy what all of them have.
    gc.freeze()
    gc.disable()
    broken = [name for name in names if not can_be_first(name)]
    sys.stdout.write(f"{len(names)} modules, broken: {', '.join(broken) or 'none'}\n")
    return 1 if broken else 0


def _libraries(names: list[str]) -> list[str]:
    """Return the modules of others that ours load, in the order of loading."""
    script = "import importlib, json, sys\n"
    script += f"for name in {names}: importlib.import_module(name)\n"
    script += "files = {name: getattr(m, '__file__', None) for name, m in sys.modules.items()}\n"
    script += "print(json.dumps(files))"
    loaded = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    ours = tuple(map(str, _sources()))
    return [
        name
        for name, file in json.loads(loaded.stdout).items()
        if file and "site-packages" in file and not file.startswith(ours) and "__" not in name
    ]


def _sources() -> list[Path]:
    return sorted([*ROOT.glob("packages/*/src"), *ROOT.glob("services/*/src")])


if __name__ == "__main__":
    sys.exit(main())
