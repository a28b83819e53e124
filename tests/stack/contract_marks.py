"""Which tests show which row of the failure contract, read from their files without running them.

A mark is written above its function, with the row as text or as a constant of the same file. The
plugin refuses any other, so that the documents, which are written from this, miss none.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.stack.contract_rows import kinds_of

_PATTERNS = ("tests/**/test_*.py", "services/*/tests/test_*.py", "packages/*/tests/test_*.py")
_MARK = "pytest.mark.contract"


@dataclass(frozen=True)
class ContractMark:
    """A test function that shows a row, with executions of these kinds."""

    path: Path
    function: str
    row: str
    kinds: tuple[str, ...]


def every_mark(root: Path) -> list[ContractMark]:
    """Return the marks of all tests, by file and in its order."""
    paths = sorted({path for pattern in _PATTERNS for path in root.glob(pattern)})
    return [mark for path in paths for mark in marks_of(path)]


@cache
def marks_of(path: Path) -> tuple[ContractMark, ...]:
    """Return the marks of one file, in its order.

    Raises:
        ValueError: a mark is not readable: its row or kind is no text; names file and line.
    """
    source = path.read_text(encoding="utf-8")
    if f"@{_MARK}(" not in source:
        return ()
    return tuple(_marks(path, ast.parse(source)))


def _marks(path: Path, module: ast.Module) -> Iterator[ContractMark]:
    constants = dict(_constants(module))
    for node in module.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in node.decorator_list:
            if not isinstance(decorator, ast.Call) or ast.unparse(decorator.func) != _MARK:
                continue
            try:
                row, *kinds = (_text(argument, constants) for argument in decorator.args)
                yield ContractMark(path, node.name, row, kinds_of(tuple(kinds)))
            except ValueError as error:
                raise ValueError(f"{path}:{decorator.lineno}: {error}") from error


def _constants(module: ast.Module) -> Iterator[tuple[str, str]]:
    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))):
                yield name, text


def _text(node: ast.expr, constants: dict[str, str]) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name) if name in constants:
            return constants[name]
    raise ValueError(f"{ast.unparse(node)} is neither text nor a constant of this file")
