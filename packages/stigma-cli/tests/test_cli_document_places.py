"""Places in the file of what is wrong with the document of an envelope."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stigma_cli.document_places import enveloped_documents
from stigma_cli.problems import Problem
from stigma_cli.violations import Violation, located
from stigma_cli.yaml_files import parse_documents, parse_file

if TYPE_CHECKING:
    from conftest import Stigma


def place_in(text: str, at: str) -> str:
    before = text[: text.index(at)]
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("document: {name: a}\ndo:\n- a:\n    wait: soon\n", (7, 8)),
        ("metadata: {}\nspec:\n  document:\n    do:\n    - a: {wait: soon}\n", (5, 11)),
        ("metadata: {}\nspec:\n  document: |\n    do: [{a: {wait: soon}}]\n", (3, 3)),
    ],
)
def test_what_the_api_says_of_a_document_is_found_in_its_file(
    file: str, place: tuple[int, int]
) -> None:
    [document] = parse_documents("workflow.yaml", file)
    for begin in ("", "the document is not valid: "):
        violation = Violation("workflow.spec.document", f"{begin}7:8: /do/0/a/wait: no duration")
        assert located(violation, document) == Problem(*place, "/do/0/a/wait", "no duration")


DOCUMENT_LINES = """\
document: {dsl: '1.0.3', namespace: test, name: greet, version: '1.0.0'}
do:
  # A comment that is indented less.
  - hello:
      set:
        greeting: |
          ${ "größer" +

            $wrong }
"""
HEAD = "apiVersion: stigma/v1\nkind: Workflow\nmetadata: {name: placed}\n"


def _indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" if line else "\n" for line in text.splitlines())


@pytest.mark.parametrize(
    ("text", "at"),
    [
        (f"{HEAD}spec:\n  document:\n{_indented(DOCUMENT_LINES, 6)}  description: x\n", "$wrong"),
        (f"{HEAD}spec:\n  document: |\n{_indented(DOCUMENT_LINES, 4)}", "$wrong"),
        # It has an alias of what is elsewhere in the file, so it is not checked as it is written.
        (
            f"{HEAD}x-name: &name greet\nspec:\n  document:\n"
            + _indented(DOCUMENT_LINES.replace("name: greet", "name: *name"), 4),
            "greeting",
        ),
    ],
    ids=["map", "literal", "alias"],
)
async def test_mistakes_in_expressions_have_their_places_in_the_file(
    stigma: Stigma, tmp_path: Path, text: str, at: str
) -> None:
    file = tmp_path / "workflow.yaml"
    file.write_text(text)
    told = await stigma("validate", file)
    [line] = [line for line in told.stdout.splitlines() if "$wrong" in line]
    assert line.startswith(
        f"{file}:{place_in(text, at)}: invalid expression: $wrong is not defined"
    )


@pytest.mark.parametrize("indent", [None, 2])
async def test_mistakes_in_json_have_their_places(
    stigma: Stigma, tmp_path: Path, indent: int | None
) -> None:
    document = {
        "document": {"dsl": "1.0.3", "namespace": "test", "name": "a", "version": "1.0.0"},
        "do": [{"first": {"set": {"x": '${ "ä" + $wrong }'}}}],
    }
    spec = {"description": "x", "document": document}
    kind = {"apiVersion": "stigma/v1", "kind": "Workflow", "metadata": {"name": "a"}}
    file = tmp_path / "workflow.json"
    file.write_text(text := json.dumps({**kind, "spec": spec}, indent=indent))
    told = await stigma("validate", file)
    place = place_in(text, "$wrong")
    assert told.stdout.startswith(f"{file}:{place}: invalid expression: $wrong is not defined")


STYLES = """\
do:
- a:
    set:
      plain: ${ "ö" + $plain }
      single: '${ "it''s" + $single }'
      double: "${ \\"🙂\\" + $double }"
      literal: |
        ${ "a" +
          $literal }
      folded: >-
        ${ "a" +
        $folded }
      text: '**bold** and [*text*]'
"""


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
async def test_mistakes_in_expressions_of_every_style_have_their_places(
    stigma: Stigma, tmp_path: Path, line_end: str
) -> None:
    document = f"document: {{dsl: '1.0.3', namespace: a, name: b, version: '1.0.0'}}\n{STYLES}"
    text = f"{HEAD}spec:\n  document:\n{_indented(document, 4)}"
    file = tmp_path / "workflow.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", line_end).encode())
    told = await stigma("validate", file)
    words = ("$plain", "$single", "$double", "$literal", "$folded")
    found = [
        line.removeprefix(f"{file}:").split(" is not ")[0] for line in told.stdout.splitlines()
    ]
    assert found == [f"{place_in(text, word)}: invalid expression: {word}" for word in words]


@pytest.mark.parametrize(
    ("spec", "is_written"),
    [
        ("spec:\r  document:\r    do: []\r", True),
        ("spec:\n  document:\n    do: '**bold** .a *.b'\n", True),
        ("x: &b 1\nspec:\n  document:\n    do: *b\n", False),
        ("spec:\n  document:\n    do: &b [*b]\n", True),
        ("x: &b {}\nspec:\n  document: {do: *b}\n", False),
        ("x: &b {document: {}}\nspec:\n  <<: *b\n", False),
        ("x: &b {do: []}\nspec:\n  document: *b\n", False),
        ('{"spec":\r{"document": {"do": []}}}', True),
    ],
)
def test_a_document_is_checked_as_it_is_written_where_it_stands_by_itself(
    spec: str, is_written: bool
) -> None:
    [document] = enveloped_documents(parse_file("workflow.yaml", spec))
    assert (document.written_at is not None) is is_written
    if is_written:
        assert document.text.strip() in spec
