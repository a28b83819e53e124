"""YAML of other languages is read by libyaml, with the same result and by the same limits."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zigflow_worker.expressions import JSON
from zigflow_worker.loading import DocumentError, load_foreign
from zigflow_worker.loading.builder import MAX_BLOCKS
from zigflow_worker.loading.documents import MAX_FOREIGN_NODES, _foreign_data
from zigflow_worker.loading.libyaml_events import NotLibyamlError, libyaml_events
from zigflow_worker.loading.yaml_events import yaml_events

OPENAPI = """\
%YAML 1.2
---
openapi: 3.0.3  # a comment
info: &info {title: "Caf\\u00e9 \\/", 'it''s': a **Note:** 5 > 4, n: 1_000}
paths:
  /pets/{id}:
    get:
      description: >-
        folded
        text

        and more
      code: |2
          indented
      responses:
        200: {description: ok, example: [0o17, 0x1F, 1e3, ~, yes, 2001-01-01, "5"]}
        default: *info
"""

# Parts that, joined, are YAML often enough, and of its darker corners too.
_PARTS = [
    *("a", "b: ", "- ", ": ", ":", "? ", "[", "]", "{", "}", ",", " ", "\n", "\n  ", "\n    "),
    *("#", " #c", "'", '"', "|\n ", "|-\n  ", ">\n  ", ">+\n ", "&a ", "*a", "!t ", "!!str "),
    *("%YAML 1.2\n---\n", "%YAML 1.1\n---\n", "---\n", "...\n", "\\n", "\\u0041", "\\ud83d", "~"),
    *("http://x/y", "1", "<<: ", "é", "\u00a0", "\u2028", "@", "`", "%", "-", "\r\n", "1:2", "a:"),
    *("&b", "x y", "\n\n", "!", "|2\n  ", "::", "-1", "\\", "\\\n", "\x00", "\ufeff"),
    *("?b ", "&a%", " |\n", "!!!str ", "!1:3!!str "),
]


def by_ruamel(text: str) -> JSON:
    """The data that the reader of YAML 1.2 makes of a text."""
    return _foreign_data(yaml_events(text), text)


def test_a_document_is_read_by_libyaml() -> None:
    assert len(list(libyaml_events(OPENAPI))) == len(list(yaml_events(OPENAPI)))
    data = load_foreign(OPENAPI)
    assert data == by_ruamel(OPENAPI)
    assert isinstance(data, dict)
    assert data["info"] == {"title": "Café /", "it's": "a **Note:** 5 > 4", "n": "1_000"}
    response = data["paths"]["/pets/{id}"]["get"]["responses"]["200"]  # type: ignore[index,call-overload]
    example = [15, 31, 1000.0, None, "yes", "2001-01-01", "5"]
    assert json.dumps(response["example"]) == json.dumps(example)  # type: ignore[index,call-overload]


@settings(max_examples=1_500, deadline=None)
@given(st.lists(st.sampled_from(_PARTS), max_size=12).map("".join))
def test_what_libyaml_reads_is_what_the_other_reader_reads(text: str) -> None:
    try:
        data = _foreign_data(libyaml_events(text), text)
        other = by_ruamel(text)
    except (NotLibyamlError, DocumentError):
        return  # of which one reader accepts more: tabs, for instance
    assert json.dumps(data) == json.dumps(other)


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "a: 1\na: 2",
        "a: *nothing",
        "a: &a [*a]",
        "a: !special 5",
        "a: !1:30!!str 5",
        "a: [*b?c]",
        "a: \x01",
        "%YAML 1.1\n---\na: 1",
        "a: 1\n---\nb: 2",
        "a: .nan",
        "<<: {a: 1}",
        "? [a]\n: 1",
        "",
        "- - - a\n - b",
        "[" * (MAX_BLOCKS + 1),
        "a: " + "{b: " * 1_000,
        "- " * (MAX_BLOCKS + 1) + "a",
        "é: é\n\n  b: \ud800".encode(errors="surrogatepass").decode(errors="replace"),
    ],
)
def test_mistakes_are_told_in_the_same_words_and_places(text: str) -> None:
    with pytest.raises(DocumentError) as expected:
        by_ruamel(text)
    with pytest.raises(DocumentError) as told:
        load_foreign(text)
    assert str(told.value) == str(expected.value)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ('a: "\\ud83d\\ude00"', {"a": "😀"}),
        ("a: &b: 1\nc: *b:", {"a": 1, "c": 1}),
        ("&a?b 5", 5),
        ("a: &b@c [1]\nd: *b@c", {"a": [1], "d": [1]}),
        ("a: &b 1\nc: &b?d 2\ne: [*b, *b?d]", {"a": 1, "c": 2, "e": [1, 2]}),
        ("|\n# no comment", "# no comment"),
        (" |\n---", "---"),
        ("--- >\n# no comment\n", "# no comment\n"),
        ("a: !!!str 1", {"a": "1"}),
        ("a: x\u2028y", {"a": "x\u2028y"}),
    ],
)
def test_what_libyaml_cannot_read_is_read_all_the_same(text: str, data: JSON) -> None:
    assert load_foreign(text) == data


def test_values_that_aliases_repeat_count() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 8)
    )
    with pytest.raises(DocumentError, match=f"has more than {MAX_FOREIGN_NODES} values"):
        load_foreign(bomb)
