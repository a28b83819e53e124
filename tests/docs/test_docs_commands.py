"""Every command in the documents is run, in the order of its page, or says why it is not."""

from __future__ import annotations

import ast
import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.docs.pages import ROOT, Block, PageError, read_page
from tests.docs.pages import page_paths as paths
from tests.docs.table import CommandsTable

pytestmark = pytest.mark.docs


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _has_commands_to_run(path: Path) -> bool:
    try:
        return any(block.is_commands and not block.not_run for block in read_page(path).blocks)
    except PageError:
        return True  # its test says why


@pytest.mark.parametrize("path", [*filter(_has_commands_to_run, paths())], ids=_name)
async def test_the_commands_of_a_page_do_what_it_says(
    path: Path,
    followed: Mapping[Path, asyncio.Task[list[Block]]],
    commands_table: CommandsTable,
) -> None:
    commands_table.found(read_page(path))
    for block in await followed[path]:
        commands_table.ran(block)


def test_a_block_that_is_not_run_says_why(commands_table: CommandsTable) -> None:
    for path in paths():
        page = read_page(path)
        commands_table.found(page)
        for block in page.blocks:
            assert "not run" not in dict(block.directives) or len(block.not_run) > 10, block.place


@pytest.mark.parametrize("path", paths(), ids=_name)
def test_what_a_page_quotes_can_be_read(path: Path) -> None:
    for block in read_page(path).blocks:
        try:
            _parse(block)
        except ValueError as error:
            pytest.fail(f"{block.place}: {error}")


def _parse(block: Block) -> None:
    match block.language:
        case "python":
            try:
                ast.parse(block.text, mode="exec")
            except SyntaxError as error:
                raise ValueError(str(error)) from None
        case "json":
            json.loads(block.text)
        case "yaml":
            list(YAML(typ="safe").load_all(block.text))
