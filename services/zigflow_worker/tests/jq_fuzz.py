"""Search for differences from the C jq with other seeds than the suite's, and show the smallest.

    python -m services.zigflow_worker.tests.jq_fuzz --seconds 900

Each round is a process of its own: a program may hold the C jq, or end it.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from services.zigflow_worker.tests.jq_builtin_calls import KINDS
from services.zigflow_worker.tests.jq_differences import reason
from services.zigflow_worker.tests.jq_programs import complete_programs, documents, environments
from services.zigflow_worker.tests.jq_reference import difference
from zigflow_worker.expressions import JSON

_ROOT = Path(__file__).parents[3]
_NAME = "services.zigflow_worker.tests.jq_fuzz"
_EXAMPLES = 300
_ROUND_SECONDS = 90
# Whole programs half of the time, and calls of builtins.
_SOURCES: list[st.SearchStrategy[tuple[str, Any, dict[str, Any]]]] = [
    source
    for calls in KINDS.values()
    for source in (
        st.tuples(complete_programs, documents, environments),
        calls.map(lambda call: (*call, {})),
    )
]


@dataclass(frozen=True)
class Finding:
    """A program that our engine runs otherwise, with its data."""

    program: str
    data: JSON
    variables: dict[str, JSON]
    difference: str

    def __str__(self) -> str:
        """Describe the finding in a few lines."""
        used = {name: value for name, value in self.variables.items() if f"${name}" in self.program}
        return f"{json.dumps(self.data)}  {self.program}  {used or ''}\n    {self.difference}"


def search(seconds: float, first_seed: int) -> Iterator[Finding | str]:
    """Yield findings of one round after another; a text where a round did not end."""
    ends_at = time.monotonic() + seconds
    number, known = first_seed, set[str]()
    while time.monotonic() < ends_at:
        with tempfile.TemporaryDirectory(prefix="jq-fuzz-") as folder:
            trace = Path(folder)
            command = [
                sys.executable,
                "-m",
                __spec__.name,
                "--round",
                str(number),
                "--trace",
                folder,
            ]
            try:
                status = subprocess.run(
                    command, cwd=_ROOT, timeout=_ROUND_SECONDS, check=False
                ).returncode
            except subprocess.TimeoutExpired:
                status = -1
            if (found := trace / "found").exists():
                finding = Finding(**json.loads(found.read_text()))
                if finding.program not in known:
                    known.add(finding.program)
                    yield finding
            elif status != 0:
                yield f"round {number} ended with {status} at {(trace / 'running').read_text()}"
        number += 1


def _run_round(number: int, trace: Path) -> None:
    """Search with one seed; the smallest difference so far is in the file `found`."""

    @seed(number)
    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(_SOURCES[number % len(_SOURCES)])
    def compare(drawn: tuple[str, Any, dict[str, Any]]) -> None:
        program, data, variables = drawn
        (trace / "running").write_text(json.dumps([program, data, variables]))
        found = difference(program, data, variables)
        if found is not None and reason(program, found) is None:
            text = json.dumps(asdict(Finding(program, data, variables, found)), default=str)
            (trace / "found").write_text(text)
            raise AssertionError(found)

    try:
        compare()
    except AssertionError:
        return


def main() -> int:
    """Search, print what differs, and return 1 when something does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--round", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--trace", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.round is not None:
        _run_round(arguments.round, arguments.trace)
        return 0
    print(f"seed {arguments.seed}")  # noqa: T201
    found = 0
    for finding in search(arguments.seconds, arguments.seed):
        found += 1
        print(finding, flush=True)  # noqa: T201
    print(f"{found} differences")  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
