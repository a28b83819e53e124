"""The specification's test data: features of the kit, and examples."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest

from zigflow_worker.loading import load_document

ROOT = Path(__file__).resolve().parents[2]
SPECIFICATION = Path(os.environ.get("STIGMA_SPEC_DIR", ROOT.parent / "shared" / "spec"))
FEATURES = SPECIFICATION / "ctk"
SCENARIOS = 21
"""Scenarios of the kit."""
EXAMPLES = 68

needs_specification = pytest.mark.skipif(
    not SPECIFICATION.is_dir(), reason=f"no specification in {SPECIFICATION}: set STIGMA_SPEC_DIR"
)


def example_names() -> list[str]:
    """Names of all examples, without `.yaml`."""
    return sorted(file.stem for file in (SPECIFICATION / "examples").glob("*.yaml"))


def example_text(name: str) -> str:
    """An example, as the specification has it."""
    return (SPECIFICATION / "examples" / f"{name}.yaml").read_text(encoding="utf-8")


def data_of(text: str) -> Any:
    """YAML data, read as the engine reads a document; a copy of one's own."""
    return copy.deepcopy(load_document(text).data)
