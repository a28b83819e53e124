"""Expressions: µs an evaluation and a compilation, our engine beside the C jq in one run.

The sources of another release's engine are measured too: a folder that `zigflow_worker` is in.
Engines take turns, each in a process of its own; the best of the rounds is shown, as noise only
adds.

    make bench NAME=expressions ARGS="--rounds 5 --other ../0.1.0/services/zigflow_worker/src"
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jq

from zigflow_worker.expressions import Budget, compile_expression

ITEMS = [{"price": 1.5 * n, "qty": n, "name": f"item {n}"} for n in range(20)]
DATA: dict[str, Any] = {
    "a": {"b": 4, "c": "text", "d": None},
    "n": 4,
    "items": ITEMS,
    "few": ITEMS[:5],
    "user": {"first": "Ada", "last": "Lovelace"},
}
# Programs, and the µs of an evaluation they are to stay within, where there is such a bar.
PROGRAMS: dict[str, float | None] = {
    ".a.b": 1,
    ".n > 3": 1,
    ".n + 1": 1,
    "{a: .n, b: .a.b, c: .user.first}": 2,
    ".few | map(.name)": 3,
    "[.items[] | .price * .qty]": 10,
    '.a.d // "nobody"': None,
    '"\\(.user.first) \\(.user.last)"': None,
    "if .n > 3 and .a.b == 4 then .a.c else null end": None,
    "[.items[] | select(.qty > 10) | .name]": None,
    ".items | map(.price) | add": None,
    "reduce .items[] as $i (0; . + $i.price * $i.qty)": None,
    ".items | group_by(.qty % 3) | map(length)": None,
    ".items | sort_by(-.price) | first": None,
    ".a.b |= . + 1": None,
    ". + {n: 5}": None,
    '.user.first | test("^A")': None,
    ".items | tojson | length": None,
    "def f: if . < 50 then . + 1 | f else . end; .n | f": None,
}
_BLOCK_SECONDS = 0.05

Evaluate = Callable[[], object]


def main(rounds: int, other: Path | None) -> None:
    """Measure and print."""
    engines: dict[str, list[str]] = {"ours": [], "jq": ["--engine", "jq"]}
    environments = {name: dict(os.environ) for name in engines}
    if other is not None:
        engines["other"] = []
        environments["other"] = os.environ | {"PYTHONPATH": f"{other.resolve()}"}
    best: dict[str, dict[str, list[float]]] = {name: {} for name in engines}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        for name, arguments in engines.items():
            command = [sys.executable, "-m", __spec__.name, "--measure", *arguments]
            output = subprocess.check_output(command, env=environments[name])
            for program, times in json.loads(output).items():
                known = best[name].get(program, times)
                best[name][program] = [min(pair) for pair in zip(known, times, strict=True)]
    _print(best)


def measure(engine: str) -> dict[str, list[float]]:
    """Return µs of an evaluation and of a compilation, by program."""
    compile_program = _compile_with_jq if engine == "jq" else _compile_with_ours
    times = {}
    for program in PROGRAMS:
        evaluate = compile_program(program)
        evaluate()
        compilation = _best_microseconds(lambda: compile_program(program))  # noqa: B023
        times[program] = [_best_microseconds(evaluate), compilation]
    return times


def _compile_with_ours(program: str) -> Evaluate:
    evaluate, budget = compile_expression(program, frozenset()).evaluate, Budget(10**15)
    return lambda: evaluate(DATA, {}, budget)


def _compile_with_jq(program: str) -> Evaluate:
    compiled = jq.compile(program)
    return lambda: compiled.input_value(DATA).first()


def _best_microseconds(run: Callable[[], object]) -> float:
    """Return the best of short blocks: each of so many runs that the clock counts little."""
    began = time.perf_counter()
    run()
    turns = max(1, int(_BLOCK_SECONDS / 5 / (time.perf_counter() - began + 1e-7)))
    blocks = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(turns):
            run()
        blocks.append((time.perf_counter() - began) / turns)
    return 1e6 * min(blocks)


def _print(best: dict[str, dict[str, list[float]]]) -> None:
    width = max(map(len, PROGRAMS))
    header = "".join(f" {name:>9} {'compile':>9}" for name in best)
    print(f"\n{'µs':<{width}}{header} {'bar':>5}")
    missed = []
    for program, bar in PROGRAMS.items():
        times = [by_program[program] for by_program in best.values()]
        cells = "".join(f" {run:>9.2f} {made:>9.0f}" for run, made in times)
        late = bar is not None and best["ours"][program][0] > bar
        missed += [program] * late
        print(f"{program:<{width}}{cells} {bar or '':>5}{' missed' if late else ''}")
    print(json.dumps({"missed": missed}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--other", type=Path, help="the sources of another release's engine")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--engine", default="ours", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.engine)))
    else:
        main(options.rounds, options.other)
