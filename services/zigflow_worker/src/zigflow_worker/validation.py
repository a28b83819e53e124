"""`python -m zigflow_worker validate FILE`: what is wrong with a document."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from zigflow_worker.definition import InvalidDocumentError
from zigflow_worker.programs import compile_text
from zigflow_worker.tasks.registry import TASK_KINDS

VALID, UNREADABLE, INVALID = 0, 1, 2


def validate(argv: Sequence[str]) -> int:
    """Check one document, "-" for stdin, and print its problems, one a line; returns the exit code.

    0: the document is valid; 1: the file cannot be read; 2: it has problems.
    """
    parser = argparse.ArgumentParser(prog="python -m zigflow_worker validate")
    parser.add_argument("file", type=Path, metavar="FILE", help='the document, or "-" for stdin')
    parser.add_argument("--output", choices=("text", "json"), default="text")
    arguments = parser.parse_args(argv)
    try:
        text = _read(arguments.file)
    except (OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"{arguments.file}: {error}\n")
        return UNREADABLE
    try:
        compile_text(text, TASK_KINDS)
    except InvalidDocumentError as error:
        _report(arguments.file, error, as_json=arguments.output == "json")
        return INVALID
    sys.stdout.write('{"valid": true, "problems": []}\n' if arguments.output == "json" else "")
    return VALID


def _read(file: Path) -> str:
    content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    return content.decode()


def _report(file: Path, error: InvalidDocumentError, *, as_json: bool) -> None:
    if not as_json:
        sys.stdout.writelines(f"{file}:{problem}\n" for problem in error.problems)
        return
    problems = [
        {
            "line": problem.line,
            "column": problem.column,
            "pointer": problem.pointer,
            "message": problem.message,
        }
        for problem in error.problems
    ]
    sys.stdout.write(json.dumps({"valid": False, "problems": problems}) + "\n")
