"""Which documents are read, where their parts are, and what is said about the others."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zigflow_worker.expressions import JSON
from zigflow_worker.loading import TOO_HEAVY, DocumentError, load_document

SPECIFICATION = Path(os.environ.get("STIGMA_SPEC_DIR", Path(__file__).parents[4] / "shared/spec"))


def error(text: str) -> DocumentError:
    with pytest.raises(DocumentError) as failed:
        load_document(text)
    assert "\n" not in str(failed.value)
    assert str(failed.value) == (
        f"line {failed.value.line}, column {failed.value.column}: {failed.value.message}"
    )
    return failed.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1", {"a": 1}),
        ("- a\n- [b, {c: d}]\n", ["a", ["b", {"c": "d"}]]),
        ("plain", "plain"),
        ("~", None),
        ("[null, Null, ~, '', \"\"]", [None, None, None, "", ""]),
        ("[true, True, FALSE, yes, on, n]", [True, True, False, "yes", "on", "n"]),
        ("[1, -1, +1, 007, 0o17, 0x1F, 1_000]", [1, -1, 1, 7, 15, 31, "1_000"]),
        ("[1.5, .5, 1., 1e3, -2.5E-1, 1:30, 1.2.3]", [1.5, 0.5, 1.0, 1e3, -0.25, "1:30", "1.2.3"]),
        ("[-, +, '1', \"1\", .]", ["-", "+", "1", "1", "."]),
        ("[2020-01-01, 2020-01-01T00:00:00Z, =]", ["2020-01-01", "2020-01-01T00:00:00Z", "="]),
        ("[9007199254740993, 123456789012345678901]", [9007199254740993, 123456789012345678901]),
        ("a: !!str 1\nb: ! 2\nc: !!map {d: !!seq [1]}", {"a": "1", "b": "2", "c": {"d": [1]}}),
        ("a: |\n  x\n  y\nb: >-\n  x\n  y\n", {"a": "x\ny\n", "b": "x y"}),
        ("a: &x [1]\nb: *x\nc: [*x, *x]", {"a": [1], "b": [1], "c": [[1], [1]]}),
        ("&k key: 1\nother: *k", {"key": 1, "other": "key"}),
        ("&x a: &x b\nc: *x", {"a": "b", "c": "b"}),
        ("'1': a\n\"true\": b\n'<<': c\non: d", {"1": "a", "true": "b", "<<": "c", "on": "d"}),
        ("%YAML 1.2\n---\na: 1\n...\n", {"a": 1}),
        ("---\na: ${ .x }", {"a": "${ .x }"}),
        ("\ufeffa: 1", {"a": 1}),
        ("{a: b, c: [d]}", {"a": "b", "c": ["d"]}),
        ('{"a": b}', {"a": "b"}),
        ('\t{\n\t"a": [1,\t2.0e1, true, null, "\\ud83d\\ude00\\/"], "b": {}, "c": []}\n',
         {"a": [1, 20.0, True, None, "\U0001f600/"], "b": {}, "c": []}),
        ("[]", []),
        ('{"a":{}}', {"a": {}}),
    ],
)  # fmt: skip
def test_documents_are_plain_data(text: str, expected: JSON) -> None:
    loaded = load_document(text).data
    assert loaded == expected
    assert json.dumps(loaded) == json.dumps(expected)


@pytest.mark.parametrize(
    ("text", "message", "pointer", "line", "column"),
    [
        ("", "the document is empty", "", 1, 1),
        ("# only\n", "the document is empty", "", 1, 1),
        ("a: 1\na: 2", 'duplicate key "a"', "", 2, 1),
        ('{"a": {"b": 1, "b": 2}}', 'duplicate key "b"', "/a", 1, 16),
        ("a:\n  1: x", "map key 1 must be a string: quote it", "/a", 2, 3),
        ("true: x", "map key true must be a string: quote it", "", 1, 1),
        ("? \n: x", "map key null must be a string: quote it", "", 1, 2),
        ("? [a]\n: x", "a map key must be a string", "", 1, 3),
        ("? {a: b}\n: x", "a map key must be a string", "", 1, 3),
        ("a: &x b\n*x : c", "a map key must be a string", "", 2, 1),
        ("a: &x {b: c}\nd:\n  <<: *x", "merge keys (<<) are not supported", "/d", 3, 3),
        ("%YAML 1.1\n---\na: 1", "YAML 1.1 is not supported: only YAML 1.2", "", 2, 1),
        ("a: !!binary aGk=", 'tag "!!binary" is not supported', "", 1, 4),
        ("a: !!set {b}", 'tag "!!set" is not supported', "", 1, 4),
        ("a: !!timestamp 2020-01-01", 'tag "!!timestamp" is not supported', "", 1, 4),
        ("a: !!python/object:os.system {}", None, "", 1, 4),
        ("a: !mine b", 'tag "!mine" is not supported', "", 1, 4),
        ("a: [1, .nan]", ".nan is not a JSON number", "/a/1", 1, 8),
        ("a: -.inf", "-.inf is not a JSON number", "/a", 1, 4),
        ("a: 1e999", "the number is too large", "/a", 1, 4),
        ('{"a": 1e999}', "the number is too large", "/a", 1, 7),
        ("a: " + "9" * 5000, "the number has more than 1000 digits", "/a", 1, 4),
        ("a: 1\n---\nb: 2", "a second document follows the first: only one is read", "", 3, 1),
        ("a: *nope", "alias *nope has no anchor before it", "/a", 1, 4),
        ("a: &x [*x]", "alias *x contains itself", "/a/0", 1, 8),
        ('a: "\\ud83d"', "a string holds half a surrogate pair", "/a", 1, 4),
        ('{"\\ud83d": 1}', "a string holds half a surrogate pair", "", 1, 2),
        ("a: b\n  c: d", "mapping values are not allowed here", "", 2, 4),
        ("a: \x01", None, "", 1, 4),
        ("a:\n\t- b", None, "", 2, 1),
        ("a: 'x", None, "", 1, 6),
        ('{"a": 1}}', None, "", 1, 9),
        ('{"a" 1}', None, "", 1, 6),
        ("[1, 2", None, "", 1, 6),
    ],
)
def test_errors_say_what_and_where(
    text: str, message: str | None, pointer: str, line: int, column: int
) -> None:
    failed = error(text)
    assert message is None or failed.message == message
    assert (failed.pointer, failed.line) == (pointer, line)
    assert message is None or failed.column == column


def nested(opening: str, depth: int, closing: str, inner: str = "") -> str:
    return opening * depth + inner + closing * depth


def test_a_hundred_blocks_and_no_more() -> None:
    def blocks(depth: int) -> str:
        lines = [f"{' ' * 4 * level}do:\n{' ' * 4 * level}- t:" for level in range(depth)]
        return "\n".join(lines) + " x"

    assert isinstance(load_document(blocks(100)).data, dict)
    assert error(blocks(101)).message == "blocks are nested more than 100 deep"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (nested("[", 101, "]"), "blocks are nested more than 100 deep"),
        (nested("[", 100_000, "]"), "blocks are nested more than 100 deep"),
        ("[" * 100_000, "blocks are nested more than 100 deep"),
        ("- " * 100_000, "blocks are nested more than 100 deep"),
        (nested('{"a":', 301, "}", "1"), "maps are nested more than 300 deep"),
        (nested("{a: ", 50_000, "}", "1"), "maps are nested more than 300 deep"),
        ("? " * 50_000, "a map key must be a string"),
        ("a: &x " + nested("[", 60, "]") + "\nb: " + nested("[", 60, "]", "*x"),
         "blocks are nested more than 100 deep"),
        ("- a\n" * 60_000, TOO_HEAVY),
        ("a: &x [" + "1," * 6_000 + "]\nb: [" + "*x," * 10 + "]",
         "the document has more than 50000 values"),
        ("a" * 1_000_001, "the document is longer than 1000000 characters"),
    ],
    ids=lambda value: str(value)[:12],
)  # fmt: skip
def test_depth_and_size_meet_our_limits(text: str, message: str) -> None:
    assert error(text).message == message


def test_as_deep_as_allowed() -> None:
    load_document(nested("[", 100, "]"))
    load_document(nested('{"a":', 300, "}", "1"))
    load_document(nested("{a: ", 300, "}", "1"))


def test_aliases_count_as_what_they_repeat() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert error("\n".join(lines)).message == "the document has more than 50000 values"


def test_positions_of_values_and_of_their_nearest_parents() -> None:
    document = load_document("do:\n  - first:\n      set: {a/b: 1, c~d: 2}\n  - second: [7,\n 8]\n")
    assert document.position("") == (1, 1)
    assert document.position("/do") == (1, 1)
    assert document.position("/do/0") == (2, 5)
    assert document.position("/do/0/first/set") == (3, 7)
    assert document.position("/do/0/first/set/a~1b") == (3, 13)
    assert document.position("/do/0/first/set/c~0d") == (3, 21)
    assert document.position("/do/1/second/1") == (5, 2)
    assert document.position("/do/0/first/missing/deeper") == (2, 5)
    assert document.position("/do/9") == (1, 1)
    assert document.position("no pointer") == (1, 1)


def test_positions_in_json() -> None:
    document = load_document('{\n  "a": [1,\n    {"b": null}]\n}')
    assert document.position("/a") == (2, 3)
    assert document.position("/a/0") == (2, 9)
    assert document.position("/a/1/b") == (3, 6)


def test_a_part_of_an_alias_is_where_the_alias_is() -> None:
    document = load_document("a: &x {b: 1}\nc: *x")
    assert document.position("/c/b") == (2, 1)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@given(plain)
@settings(max_examples=40)  # the reader is slow where coverage is measured
def test_all_json_is_read_as_it_is(data: JSON) -> None:
    for text in (json.dumps(data), json.dumps(data, indent=1)):
        assert load_document(text).data == data
    assert load_document(json.dumps([data], indent="\t", ensure_ascii=False)).data == [data]


@given(st.text(st.sampled_from("ab:-?[]{},&*!|>'\"%# \n\t0.~<")))
def test_any_text_is_read_or_refused(text: str) -> None:
    refused = None
    try:
        json.dumps(load_document(text).data, allow_nan=False)
    except DocumentError as failed:
        refused = failed
    if refused is not None:
        assert "\n" not in str(refused)
        assert min(refused.line, refused.column) >= 1


def test_the_specifications_examples_are_read() -> None:
    if not SPECIFICATION.is_dir():
        pytest.skip(f"no specification in {SPECIFICATION}: set STIGMA_SPEC_DIR")
    examples = sorted((SPECIFICATION / "examples").glob("*.yaml"))
    assert len(examples) == 68
    for example in examples:
        document = load_document(example.read_text())
        assert document.position("/document/dsl")[0] > 1
