"""Warnings about documents: what they are about is found once, however often it is repeated."""

from __future__ import annotations

from stigma_cli.document_warnings import NamedAgent, agents_called, texts_with_expressions
from stigma_cli.yaml_files import parse_documents


def test_aliases_of_aliases_are_gone_through_once() -> None:
    doubled = "".join(f"- &a{at} [*a{at - 1}, *a{at - 1}]\n" for at in range(1, 12))
    task = "{call: agent, with: {agent: clerk}, x: 'a ${ .b }'}"
    [document] = parse_documents("file.yaml", f"- &a0 [{task}]\n{doubled}")
    assert list(agents_called("file.yaml", document)) == [NamedAgent("clerk", "file.yaml:1")]
    [warning] = texts_with_expressions("file.yaml", document)
    assert warning.startswith("file.yaml:1:")


def test_the_agents_that_a_document_calls() -> None:
    [document] = parse_documents(
        "file.yaml",
        "do:\n- a: {call: agent, with: {agent: a}}\n- b: {do: [{c: {call: agent, with:\n"
        "    {agent: b}}}, {d: {call: agent, with: {agent: '${ .x }'}}}, {e: {call: http}}]}\n",
    )
    found = sorted(agents_called("file.yaml", document), key=lambda each: each.name)
    assert found == [NamedAgent("a", "file.yaml:2"), NamedAgent("b", "file.yaml:4")]
