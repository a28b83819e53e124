"""Evaluates expressions in a process of its own, with limits; what each took, as a line of JSON.

python -m services.zigflow_worker.tests.attack_process < expressions.json
"""

import contextlib
import ctypes
import gc
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.zigflow_worker.tests.expression_attacks import values
from zigflow_worker.expressions import (
    Budget,
    ExpressionError,
    ExpressionSyntaxError,
    compile_expression,
)

MEMORY_BYTES = 600 << 20
"""Memory the process may take above what it starts with; without it, a fault takes the machine."""
CPU_SECONDS = 20
"""CPU after which an expression's process is killed."""
_ROOT = Path(__file__).parents[3]
_NODES = 2_000
_SAFETY_SECONDS = 3_600


@dataclass(frozen=True)
class Use:
    """Cost of an expression: CPU seconds, MB, steps of the budget; and how it ended."""

    expression: str
    cpu: float
    memory: float
    steps: int
    outcome: str

    def __str__(self) -> str:
        """Describe it in one line."""
        what = f"{self.cpu:.2f} s {self.memory:.0f} MB {self.steps} steps"
        return f"{what}: {self.expression[:100]}: {self.outcome[:80]}"


def run(
    expressions: Sequence[str], *, environment: dict[str, str] | None = None, depth: int = 0
) -> Iterator[Use]:
    """Yield what each expression takes; one that ends its process has `killed` as its outcome."""
    pending = list(expressions)
    while pending:
        done = 0
        for use in _run_process(pending, environment or {}, depth):
            done += 1
            yield use
        if done < len(pending):
            yield Use(pending[done], CPU_SECONDS, 0, -1, "killed")
        pending = pending[done + 1 :]


def _run_process(expressions: list[str], environment: dict[str, str], depth: int) -> Iterator[Use]:
    # Coverage would double what is measured.
    inherited = {name: text for name, text in os.environ.items() if "COV" not in name}
    process = subprocess.Popen(
        ["timeout", str(_SAFETY_SECONDS), sys.executable, "-m", __name__, str(depth)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=inherited | environment,
        cwd=_ROOT,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            process.stdin.write(json.dumps(expressions))
            process.stdin.close()
            for line in process.stdout:
                yield Use(**json.loads(line))
        finally:
            process.terminate()  # where nobody reads on, it would be waited for


def _measure(expression: str) -> Use:
    gc.collect()
    with contextlib.suppress(OSError):
        ctypes.CDLL(None).malloc_trim(0)
    budget = Budget()
    used = int(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (used + CPU_SECONDS, resource.RLIM_INFINITY))
    before = _reset_peak()
    began = time.process_time()
    outcome = _outcome(expression, budget)
    cpu = time.process_time() - began
    return Use(expression, cpu, (_peak_bytes() - before) / 2**20, budget.used, outcome)


def _outcome(expression: str, budget: Budget) -> str:
    try:
        compiled = compile_expression(expression, frozenset(values()))
        return _digest(compiled.evaluate(None, values(), budget))
    except (ExpressionError, ExpressionSyntaxError) as error:
        text = f"{error}"
        return text if len(text) <= 1_000 else f"a text of {len(text)} characters"
    except BaseException as error:  # noqa: BLE001 - reported, and a failure of the test
        return f"escaped: {type(error).__name__}"


def _digest(result: Any) -> str:
    """Return a hash of a result's first parts: all of it may be large."""
    digest, pending = hashlib.sha256(), [result]
    for _ in range(_NODES):
        if not pending:
            break
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value[:_NODES])
            digest.update(f"[{len(value)}".encode())
        elif isinstance(value, dict):
            pending.extend(list(value.values())[:_NODES])
            digest.update(f"{{{list(value)[:9]}{len(value)}".encode())
        else:
            digest.update(repr(value)[:1_000].encode(errors="replace"))
    return f"result {digest.hexdigest()[:12]}"


def _reset_peak() -> int:
    """Begin to measure the highest use of memory, and return the present one."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak_bytes()


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0


def _at_depth(depth: int, expressions: list[str]) -> None:
    """Run below so many frames of Python: the caller's depth must change nothing."""
    if depth:
        _at_depth(depth - 1, expressions)
        return
    for expression in expressions:
        print(json.dumps(asdict(_measure(expression))), flush=True)  # noqa: T201


def main() -> None:
    """Measure the expressions of standard input."""
    expressions = json.load(sys.stdin)
    values()
    compile_expression(".", frozenset())
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_BYTES, size + MEMORY_BYTES))
    _at_depth(int(sys.argv[1]) if len(sys.argv) > 1 else 0, expressions)


if __name__ == "__main__":
    main()
