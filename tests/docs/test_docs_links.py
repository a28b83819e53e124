"""No link of the documents is dead, and the index leads to every page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.links import Link, anchors, links
from tests.docs.pages import ROOT, page_paths

INDEX = ROOT / "docs" / "README.md"
_OTHERS = ("CONTRIBUTING.md", "CHANGELOG.md", "llms.txt", "deploy/helm/*/README.md")


def _linking() -> list[Path]:
    return [*page_paths(), *(path for pattern in _OTHERS for path in ROOT.glob(pattern))]


@pytest.mark.parametrize("path", _linking(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_link_is_dead(path: Path) -> None:
    assert [broken for link in links(path) if (broken := link.broken())] == []


def test_the_index_leads_to_every_page() -> None:
    linked = {link.path for link in links(INDEX)}
    pages = {path for path in (ROOT / "docs").rglob("*.md") if path != INDEX}
    assert sorted(path.relative_to(ROOT).as_posix() for path in pages - linked) == []


def test_the_index_for_language_models_leads_to_the_first_pages() -> None:
    linked = {link.path.name for link in links(ROOT / "llms.txt")}
    assert {"quick-start.md", "handshake.md", "developer-guide.md", "api.md"} <= linked


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`, [three](page.md)\n## Same\n## Same\n[a](gone.md) [b](#same-1) [c](#none)\n"
        "`[d](code.md)` [e](https://example.com) [over\ntwo lines](page.md)\n"
        "```text\n[f](block.md)\n```\n"
    )
    assert anchors(page) == {"one-two-three", "same", "same-1"}
    assert [link.broken() for link in links(page)] == [
        "",
        "4: there is no gone.md",
        "",
        "4: page.md has no heading #none",
        "",
    ]
    assert Link(1, "page.md", page, "").broken() == ""
