"""Documents in a directory, and start inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from zigflow_worker.activities.document_directory import DocumentDirectory, UnknownDocumentError
from zigflow_worker.loading import load_document
from zigflow_worker.programs import compile_text
from zigflow_worker.start import continued_start, read_start
from zigflow_worker.tasks.registry import TASK_KINDS

HEAD = "document: {{dsl: 1.0.3, namespace: {}, name: {}, version: 1.0.0}}\n"


def test_documents_are_found_by_both_names(tmp_path: Path) -> None:
    directory = DocumentDirectory(tmp_path)
    (tmp_path / "a.yaml").write_text(HEAD.format("one", "greet"))
    (tmp_path / "b.yml").write_text(HEAD.format("two", "greet"))
    (tmp_path / "c.json").write_text('{"document": {"namespace": "one", "name": "other"}}')
    (tmp_path / "notes.txt").write_text(HEAD.format("one", "notes"))
    for number, text in enumerate(("[", "5", "document: 5", "document: {name: 1}")):
        (tmp_path / f"broken{number}.yaml").write_text(text)
    assert directory.text_of("two.greet") == HEAD.format("two", "greet")
    assert directory.text_of("other").startswith("{")
    with pytest.raises(UnknownDocumentError, match=r"several .* 'greet': a\.yaml, b\.yml"):
        directory.text_of("greet")
    (tmp_path / "a.yaml").unlink()
    assert directory.text_of("greet") == HEAD.format("two", "greet")
    with pytest.raises(UnknownDocumentError, match="no document is named 'notes'"):
        directory.text_of("notes")


def test_a_changed_file_is_read_again_a_dangling_link_is_not(tmp_path: Path) -> None:
    directory = DocumentDirectory(tmp_path)
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text(HEAD.format("n", "greet"))
    new.write_text(HEAD.format("n", "greet") + "do: []\n")
    link = tmp_path / "greet.yaml"
    link.symlink_to(old)
    assert "do: []" not in directory.text_of("greet")
    link.unlink()
    link.symlink_to(new)
    assert "do: []" in directory.text_of("greet")
    new.unlink()
    with pytest.raises(UnknownDocumentError):
        directory.text_of("greet")


def test_a_text_is_parsed_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(HEAD.format("n", "once") + "do: [{a: {wait: PT1S}}]")
    parsed = load_document.cache_info().misses
    compile_text(DocumentDirectory(tmp_path).text_of("once"), TASK_KINDS)
    assert load_document.cache_info().misses == parsed + 1


@pytest.mark.parametrize("directory", [None, Path("/nowhere/at/all")])
def test_without_a_directory_nothing_is_found(directory: Path | None) -> None:
    with pytest.raises(UnknownDocumentError, match="is named 'greet' in"):
        DocumentDirectory(directory).text_of("greet")


def test_a_continued_run_starts_with_the_same_options() -> None:
    start = read_start({"document": "d", "options": {"historyLength": 7}})
    again = read_start(continued_start("d", start.options, {"values": []}))
    assert (again.options, again.document, again.state) == (start.options, "d", {"values": []})


def test_more_than_one_argument_is_refused() -> None:
    with pytest.raises(ValueError, match="one JSON object"):
        read_start({}, {})
