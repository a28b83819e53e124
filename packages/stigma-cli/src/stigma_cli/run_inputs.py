"""Inputs of runs and executions, as a person gives them: JSON, or a file of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stigma_cli.file_texts import read_text
from stigma_cli.strict_json import parse_json


def read_input(text: str) -> Any:
    """Read JSON, or the JSON in the file behind "@".

    Raises:
        ValueError: it is not JSON.
    """
    return _read_input(text)[1]


def read_input_text(text: str) -> str:
    """Return JSON text as it is, or that in the file behind "@".

    Raises:
        ValueError: it is not JSON.
    """
    return _read_input(text)[0]


def _read_input(text: str) -> tuple[str, Any]:
    name = "the input"
    if text.startswith("@"):
        name = f"the input in {text[1:]}"
        text = read_text(Path(text[1:]))
    try:
        return text, parse_json(text)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None
