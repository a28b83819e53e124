"""Places of mistakes inside expressions: line and column of the file, in each form of a scalar."""

from __future__ import annotations

import json
import time

import pytest

from zigflow_worker.programs import problems_in
from zigflow_worker.tasks.registry import TASK_KINDS

HEAD = "document: {dsl: 1.0.3, namespace: test, name: example, version: 1.0.0}\n"
WRONG = "$wrong"
"""Stands in each text once, where its mistake is."""

SCALARS = {
    "plain": "x: ${ .a + $wrong }",
    "plain, after text that is not ASCII": 'ä: ${ "größer 🙂" + $wrong }',
    "single quotes, tabs inside": "x: '${ .a\t+\t$wrong }'",
    "plain, over lines": "x: ${ .a +\n         .b + $wrong\n         + .c }",
    "single quotes": "x: '${ .a + $wrong }'",
    "single quotes, doubled": "x: '${ \"it''s\" + $wrong }'",
    "single quotes, over lines": "x: '${ .a +\n         $wrong }'",
    "double quotes": 'x: "${ .a + $wrong }"',
    "double quotes, escapes": r'x: "${ \"\u00e9\x41\t\U0001F642\ud83d\ude42\" + $wrong }"',
    "literal": "x: |\n          ${ .a +\n\n            .b + $wrong }",
    "literal, blanks around": "x: |2-\n\n          ${\n            $wrong\n          }\n\n",
    "folded": "x: >-\n          ${ .a\n          + $wrong }",
    "an anchor": "x: &x '${ $wrong }'",
    "an anchor and a block": "x: &x |\n          ${ $wrong }",
    "an anchor and a tag": "x: &x !!str ${ $wrong }",
    "an item of a list": "x: [1, {y: '${ $wrong }'}]",
}


def place_of(text: str, what: str = WRONG) -> tuple[int, int]:
    before = text[: text.index(what)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def first_problem(text: str) -> tuple[tuple[int, int], str]:
    [problem] = problems_in(text, TASK_KINDS)
    return (problem.line, problem.column), problem.message


@pytest.mark.parametrize("scalar", SCALARS.values(), ids=SCALARS)
def test_a_mistake_has_the_place_of_its_character(scalar: str) -> None:
    text = f"{HEAD}do:\n  - first:\n      set:\n        {scalar}\n"
    place, message = first_problem(text)
    assert place == place_of(text)
    assert message.startswith("invalid expression: $wrong is not defined; there are $context, ")
    assert " at line " not in message


@pytest.mark.parametrize(
    ("scalar", "at"),
    [
        ("x: ${ .a ] }", "] }"),
        ("x: ${ .a - }", "}\n  - "),
        ("x: ${ .a | sort_bye(.x) }", "sort_bye"),
        ("x: '${ join }'", "join"),
        ("x: '${ @bas64 }'", "@bas64"),
        ("x: '${ $secrets.key }'", "$secrets"),
        ("x: '${ 1 | {(2): 3} | {4: 5} }'", "4: 5"),
    ],
)
def test_each_mistake_of_an_expression_has_a_place(scalar: str, at: str) -> None:
    text = f"{HEAD}do:\n  - first:\n      set:\n        {scalar}\n  - next: {{wait: PT1S}}\n"
    assert first_problem(text)[0] == place_of(text, at)


def test_an_expression_without_its_braces_has_places() -> None:
    text = (
        f"{HEAD}do:\n  - first:\n      if: |\n        .a ==\n          $wrong\n      wait: PT1S\n"
    )
    assert first_problem(text)[0] == place_of(text)


@pytest.mark.parametrize("indent", [None, 2])
def test_json_has_places(indent: int | None) -> None:
    value = '${ "ä\n\t\\"🙂" + $wrong }'
    document = {
        "document": {"dsl": "1.0.3", "namespace": "test", "name": "a", "version": "1.0.0"},
        "do": [{"first": {"set": {"x": value}}}],
    }
    for ascii_only in (True, False):
        text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
        assert first_problem(text)[0] == place_of(text)


@pytest.mark.parametrize("line_break", ["\r\n", "\n"])
def test_line_breaks_make_no_difference(line_break: str) -> None:
    for scalar in (
        "x: |\n          ${ .a +\n            $wrong }",
        "x: ${ .a +\n         $wrong }",
    ):
        text = f"{HEAD}do:\n  - first:\n      set:\n        {scalar}\n".replace("\n", line_break)
        assert first_problem(text)[0] == place_of(text)


@pytest.mark.parametrize(
    "scalar",
    [
        "x: >-\n          ${ .a\n            + .b\n          + $wrong }",  # lines are kept
        'x: "${ .a + \\\n         $wrong }"',
        'x: "${ .a\n\n         + $wrong }"',
        "x: '${ \u2028 $wrong }'",
    ],
)
def test_where_the_place_is_not_sure_it_is_that_of_the_key(scalar: str) -> None:
    text = f"{HEAD}do:\n  - first:\n      set:\n        {scalar}\n"
    place, message = first_problem(text)
    assert place == place_of(text, "x: ")
    assert message.startswith("invalid expression: ")
    assert " at line " in message
    assert " of the text" in message


def test_an_alias_has_the_place_where_it_stands() -> None:
    text = f"{HEAD}do:\n  - a: {{set: {{x: &x '${{ $wrong }}'}}}}\n  - b: {{set: {{y: *x}}}}\n"
    first, second = problems_in(text, TASK_KINDS)
    assert (first.line, first.column) == place_of(text)
    assert (second.line, second.column) == place_of(text, "y: *x")
    assert " is not defined at line 1, column 4 of the text; there are " in second.message


def test_what_is_merged_has_the_place_of_the_map() -> None:
    text = f"{HEAD}do:\n  - a: &a {{set: '${{ $wrong }}'}}\n  - b: {{<<: *a}}\n"
    merged, *others = [each for each in problems_in(text, TASK_KINDS) if "$wrong" in each.message][
        ::-1
    ]
    assert [(each.line, each.column) for each in others] == [place_of(text)]
    assert (merged.line, merged.column) == place_of(text, "b: {<<")


def test_thousands_of_mistakes_in_one_text_are_found_within_a_moment() -> None:
    """A workflow task finds them, which may take two seconds."""
    lines = "".join(f'\\"\\",b{number},\n         ' for number in range(1500))
    text = f'{HEAD}do:\n  - first:\n      set:\n        x: "${{ [{lines} 1] }}"\n'
    began = time.process_time()
    problems = problems_in(text, TASK_KINDS)
    assert time.process_time() - began < 1.5
    assert len(problems) == 1500
    assert (problems[-1].line, problems[-1].column) == place_of(text, "b1499")
