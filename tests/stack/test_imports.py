"""Every module can be imported first: none needs another to have been loaded before."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.stack import import_first
from tests.stack.fork_server import ROOT


@pytest.mark.timeout(500)
def test_every_module_can_be_imported_first() -> None:
    environment = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    done = subprocess.run(
        [sys.executable, "-m", import_first.__name__],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert len(list(import_first.modules())) > 200
