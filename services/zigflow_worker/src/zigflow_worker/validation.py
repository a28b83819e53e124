"""`python -m zigflow_worker validate FILE`: mistakes of a document, or of each of a list."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zigflow_worker.definition import Problem
from zigflow_worker.programs import problems_in
from zigflow_worker.tasks.registry import TASK_KINDS

VALID, UNREADABLE, INVALID = 0, 1, 2
MOST_PROBLEMS = 100


def validate(argv: Sequence[str]) -> int:
    """Check one document, "-" for stdin, and print its problems, one a line; returns the exit code.

    All are printed that can be told at once, in the order of their places, but at most 100.

    0: the document is valid; 1: the file cannot be read; 2: it has problems.

    With `--list`, the file is a JSON list of documents' texts, and a JSON list with the report of
    each is printed; 0, whatever they say.
    """
    parser = argparse.ArgumentParser(prog="python -m zigflow_worker validate")
    parser.add_argument("file", type=Path, metavar="FILE", help='the document, or "-" for stdin')
    parser.add_argument("--output", choices=("text", "json"), default="text")
    parser.add_argument(
        "--list",
        action="store_true",
        help="FILE is a JSON list of documents; prints one of reports",
    )
    arguments = parser.parse_args(argv)
    try:
        text = _read(arguments.file)
    except (OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"{arguments.file}: {error}\n")
        return UNREADABLE
    if arguments.list:
        reports = [_report_of(problems_in(each, TASK_KINDS)) for each in json.loads(text)]
        sys.stdout.write(json.dumps(reports) + "\n")
        return VALID
    problems = problems_in(text, TASK_KINDS)
    _print(arguments.file, problems, as_json=arguments.output == "json")
    return INVALID if problems else VALID


def _read(file: Path) -> str:
    content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    return content.decode()


def _report_of(problems: Sequence[Problem]) -> dict[str, Any]:
    found, more = [asdict(each) for each in problems[:MOST_PROBLEMS]], problems[MOST_PROBLEMS:]
    return {"valid": not found, "problems": found} | ({"more": len(more)} if more else {})


def _print(file: Path, problems: Sequence[Problem], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(_report_of(problems)) + "\n")
        return
    shown, more = problems[:MOST_PROBLEMS], len(problems[MOST_PROBLEMS:])
    sys.stdout.writelines(f"{file}:{_line_of(problem)}\n" for problem in shown)
    sys.stdout.write(f"and {more} more\n" if more else "")


def _line_of(problem: Problem) -> str:
    place = f"{problem.line}:{problem.column}"
    return f"{place}: {problem.message} ({problem.pointer or '/'})"
