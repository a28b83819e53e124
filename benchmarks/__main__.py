"""One benchmark, of this commit or beside another one in the same run.

    make bench NAME=handshake ARGS="--rounds 3"
    make bench NAME=handshake ARGS="--rounds 1 --against HEAD~20 --times 3"

With `--against`, a checkout of that commit with packages of its own is made, and the same modules
of benchmarks run in both, in turns: what the machine does meanwhile touches both alike. The table
has the medians of the figures in the JSON line of each run, and their ratio.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]

Figures = Mapping[str, float]


def main(arguments: Sequence[str]) -> int:
    """Run and print; return an exit code."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=False)
    parser.add_argument("name")
    parser.add_argument("--against", metavar="REV")
    parser.add_argument("--times", type=int, default=3, help="turns of each commit")
    asked, rest = parser.parse_known_args(arguments)
    command = ["-m", f"benchmarks.{asked.name}", *rest]
    if asked.against is None:
        return subprocess.run([sys.executable, *command], cwd=ROOT, check=False).returncode
    with tempfile.TemporaryDirectory(prefix="stigma-against-") as directory:
        other = _check_out(asked.against, Path(directory, "stigma"))
        runs: dict[Path, list[Figures]] = {ROOT: [], other: []}
        for turn in range(asked.times):
            for root in random.sample(list(runs), 2):
                print(f"turn {turn + 1} of {asked.times}: {_name(root, asked.against)}", flush=True)
                runs[root].append(_figures(root, command))
    _print(runs[ROOT], runs[other], asked.against)
    return 0


def _check_out(revision: str, directory: Path) -> Path:
    """Make a checkout that has what it needs to run, and today's benchmarks."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(directory)], check=True)
    found = subprocess.run(
        ["git", "rev-parse", f"{revision}^{{commit}}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for command in (
        ["git", "checkout", "--quiet", found.stdout.strip()],
        ["make", "--no-print-directory", ".venv/.bootstrapped"],
    ):
        subprocess.run(command, cwd=directory, check=True)
    shutil.copytree(ROOT / "benchmarks", directory / "benchmarks", dirs_exist_ok=True)
    return directory


def _name(root: Path, revision: str) -> str:
    return "this commit" if root == ROOT else revision


def _figures(root: Path, command: Sequence[str]) -> Figures:
    """Run a benchmark, and return the figures of its last line."""
    done = subprocess.run(
        [root / ".venv/bin/python", *command],
        cwd=root,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    print(done.stdout, flush=True)
    last = json.loads(done.stdout.splitlines()[-1])
    return {name: value for name, value in last.items() if isinstance(value, (int, float))}


def _print(ours: Sequence[Figures], others: Sequence[Figures], revision: str) -> None:
    print(f"{'median':<28} {revision[:12]:>12} {'this commit':>12} {'ratio':>7}")
    summary = {}
    for name in ours[0]:
        if not all(name in each for each in others):
            continue
        then, now = (statistics.median(each[name] for each in runs) for runs in (others, ours))
        summary[name] = round(now / then, 3) if then else None
        print(f"{name:<28} {then:>12.3f} {now:>12.3f} {summary[name] or float('nan'):>7.3f}")
    print(json.dumps({"against": revision, "ratios": summary}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
