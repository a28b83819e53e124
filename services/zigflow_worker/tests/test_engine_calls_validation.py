"""Calls that are refused before anything runs, and where the problem is said to be."""

from __future__ import annotations

import pytest

from zigflow_worker.definition import InvalidDocumentError
from zigflow_worker.programs import compile_text
from zigflow_worker.tasks.registry import TASK_KINDS

HEAD = """\
document: {dsl: 1.0.3, namespace: test, name: example, version: 1.0.0}
use: {secrets: [api, db]}
"""


def problem_of(text: str) -> str:
    with pytest.raises(InvalidDocumentError) as invalid:
        compile_text(text, TASK_KINDS)
    [problem] = invalid.value.problems
    return str(problem)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("{endpoint: 'http://x'}", "3:23: /do/0/a/with: 'method' is required"),
        ("{method: get}", "'endpoint' is required"),
        ("{method: 3, endpoint: 'http://x'}", "3:30: /do/0/a/with/method: expected a string"),
        ("{method: get, endpoint: 3}", "/with/endpoint: expected a string"),
        ("{method: get, endpoint: 'http://x', uri: x}", "/with/uri: unknown key 'uri'"),
        ("{method: get, endpoint: {url: x}}", "/with/endpoint/url: unknown key"),
        ("{method: get, endpoint: {authentication: {}}}", "/with/endpoint: 'uri' is required"),
        ("{method: get, endpoint: 'file:///etc/passwd'}", "expected an http or https URI"),
        ("{method: get, endpoint: 'http://'}", "expected an http or https URI"),
        ("{method: get, endpoint: 'http://['}", "/with/endpoint: "),
        ("{method: get, endpoint: 'http://u:p@x'}", "credentials belong into 'authentication'"),
        ("{method: get, endpoint: 'http://x/{+path}'}", "'{+path}': a URI template takes"),
        ("{method: get, endpoint: 'http://x/{a,b}'}", "'{a,b}': a URI template takes"),
        ("{method: get, endpoint: 'http://x/${ .a }'}", "an expression must be the whole text"),
        ("{method: get, endpoint: 'http://x/{a'}", "is not closed"),
        ("{method: get, endpoint: 'http://x', headers: [a]}", "/with/headers: expected a map"),
        ("{method: get, endpoint: 'http://x', query: a=b}", "/with/query: expected a map"),
        ("{method: get, endpoint: 'http://x', output: xml}", "one of content, response, raw"),
        ("{method: get, endpoint: 'http://x', redirect: 1}", "/with/redirect: expected true"),
        ("{method: get, endpoint: 'http://x', body: '${ . + }'}", "/with/body: invalid expression"),
        ("{method: get, endpoint: 'http://x', body: '${ $secrets.other }'}", "'other' is not decl"),
        ("{method: get, endpoint: 'http://x', body: '${ $secrets }'}", "'$secrets.NAME'"),
        ("{method: get, endpoint: 'http://x', body: ['${ $secrets[.x] }']}", "/with/body/0: exp"),
        ("{method: get, endpoint: 'http://x', body: '${ $secrets.api + }'}", "invalid expression"),
        ("{method: get, endpoint: 'http://x', body: '${ $authorization }'}", "'output' and 'exp"),
        ("{method: get, endpoint: 'http://x', body: '${ $output }'}", "$output is not defined"),
    ],
)
def test_arguments(arguments: str, problem: str) -> None:
    assert problem in problem_of(f"{HEAD}do: [{{a: {{call: http, with: {arguments}}}}}]")


CALL = "call: http, with: {method: get, endpoint: 'http://x'}"


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        ("set: {x: '${ $secrets.api }'}", "/set/x: '$secrets' may only be used in auth"),
        (f"{CALL}, if: '$secrets.api'", "/if: '$secrets' may only"),
        (f"{CALL}, output: {{as: '$secrets.api'}}", "/output/as: '$secrets' may only"),
        (f"{CALL}, export: {{as: {{x: '${{ $secrets.api }}'}}}}", "/export/as/x: '$secrets' may"),
        (f"{CALL}, input: {{from: '$secrets.other'}}", "/input/from: the secret 'other' is not"),
        (f"{CALL}, input: {{from: '$secrets'}}", "/input/from: expected '$secrets.NAME'"),
        (f"{CALL}, input: {{from: '$secrets.api +'}}", "/input/from: invalid expression"),
        (f"{CALL}, output: {{as: '$authorization +'}}", "/output/as: invalid expression"),
        ("set: {x: 1}, input: {from: '$secrets.api'}", "/input/from: '$secrets' may only"),
        ("set: {x: 1}, output: {as: $authorization}", "/output/as: '$authorization' may only"),
        ("wait: {seconds: '${ $secrets.api }'}", "seconds"),
    ],
)
def test_secrets_and_credentials_elsewhere(task: str, problem: str) -> None:
    assert problem in problem_of(f"{HEAD}do: [{{a: {{{task}}}}}]")


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "api.hosts", "a b", "ü", "x" * 254])
def test_names_of_secrets(name: str) -> None:
    head = HEAD.replace("api, db", f"api, '{name}'")
    assert "/use/secrets/1: not a valid name of a secret" in problem_of(
        f"{head}do: [{{a: {{set: {{x: 1}}}}}}]"
    )
