"""Mistakes of people and models who write documents: what they are told to write instead."""

from __future__ import annotations

import pytest

from zigflow_worker.programs import problems_in
from zigflow_worker.tasks.registry import TASK_KINDS

HEAD = "document: {dsl: 1.0.3, namespace: test, name: example, version: 1.0.0}\n"
HTTP = "{call: http, with: {method: get, endpoint: 'https://x.y', MORE}}"
POLICY = "{call: http, with: {method: get, endpoint: {uri: 'https://x.y', authentication: MORE}}}"
OPENAPI = "{call: openapi, with: {MORE}}"
GRPC = "{call: grpc, with: {service: {name: a, host: b}, method: c, MORE}}"
AGENT = "{call: agent, with: {MORE}}"
TRY = "{try: [{b: {wait: PT1S}}], MORE}"
SET = "{set: {x: 'MORE'}}"

TASKS = [
    # Keys that have another name, or are misspelt.
    ("{call: http, with: {method: get, url: 'https://x.y'}}", "url", "did you mean 'endpoint'?"),
    (HTTP.replace("MORE", "params: {a: 1}"), "params", "did you mean 'query'?"),
    (HTTP.replace("MORE", "output: contnet"), "output", "did you mean 'content'?"),
    (
        OPENAPI.replace("MORE", "document: {endpoint: a}, operation: b"),
        "operation:",
        "did you mean 'operationId'?",
    ),
    (
        OPENAPI.replace("MORE", "document: {uri: a}, operationId: b"),
        "uri",
        "did you mean 'endpoint'?",
    ),
    (GRPC.replace("MORE", "args: {}"), "args", "did you mean 'arguments'?"),
    (AGENT.replace("MORE", "name: reviewer"), "name", "did you mean 'agent'?"),
    (AGENT.replace("MORE", "agent: a, prompt: b"), "prompt", "did you mean 'message'?"),
    (AGENT.replace("MORE", "spec: {modle: b}"), "modle", "did you mean 'model'?; allowed here: "),
    (
        AGENT.replace("MORE", "spec: {model: 'a:b', tools: [{nam: c}]}"),
        "nam:",
        "unknown key 'nam', did you mean 'name'?",
    ),
    (
        POLICY.replace("MORE", "{basic: {user: a, password: b}}"),
        "user",
        "did you mean 'username'?",
    ),
    (
        POLICY.replace(
            "MORE", "{oauth2: {authority: 'https://a', grant: client-credentials, client: {id: a}}}"
        ),
        "grant",
        "did you mean 'client_credentials'?",
    ),
    ("{switch: [{big: {if: .x, then: end}}]}", "if", "did you mean 'when'?"),
    ("{for: {each: i, items: .x}, do: [{b: {set: '$i'}}]}", "items", "did you mean 'in'?"),
    ("{foreach: {in: .x}, do: [{b: {wait: PT1S}}]}", "foreach", "did you mean 'for'?"),
    (TRY.replace("MORE", "catch: {error: {}}"), "error", "did you mean 'errors'?"),
    ("{call: f, args: {}}", "args", "did you mean 'with'?"),
    ("{wait: PT1S, exports: {as: .x}}", "exports", "did you mean 'export'?"),
    # Keywords, names and values.
    ("{parallel: {branches: []}}", "a:", "'parallel' is none, did you mean 'fork'?"),
    ("{sleep: PT1S}", "a:", "'sleep' is none, did you mean 'wait'?"),
    ("{call: HTTP, with: {}}", "call", "did you mean 'http'?; calls are agent, "),
    ("{call: ff}", "call", "did you mean 'f'?"),
    ("{wait: PT1S, then: frist}", "then", "did you mean 'first'?"),
    (TRY.replace("MORE", "catch: {retry: defualt}"), "retry", "did you mean 'default'?"),
    (POLICY.replace("MORE", "{use: pet-store}"), "use", "did you mean 'petStore'?"),
    (
        HTTP.replace("MORE", "headers: {k: '${ $secrets.apikey }'}"),
        "k:",
        "did you mean 'api-key'?",
    ),
    ("{wait: 5}", "wait", "as in PT30S or {seconds: 30}"),
    ("{wait: 1h 30 min}", "wait", "did you mean 'PT1H30M'?"),
    ("{wait: P5S}", "wait", "did you mean 'PT5S'?"),
    ("{wait: 2 days}", "wait", "did you mean 'P2D'?"),
    ("{wait: {second: 5}}", "second", "did you mean 'seconds'?"),
    ("{wait: {seconds: 1.5}}", "wait", "parts of a second are milliseconds"),
    ("{wait: PT1S, timeout: 5m}", "timeout", "expected {after: PT5M}"),
    ("{wait: PT1S, if: true}", "if", "expected an expression, not true: quote it"),
    (
        "{wait: PT1S, input: {schema: {document: {type: strng}}}}",
        "type",
        "did you mean 'string'?",
    ),
    # Keys in a wrong place.
    ("{call: http, method: get}", "a:", "'with' is required, with method in it"),
    ("{emit: {type: x, source: y}}", "emit", "'event' is required, with type, source in it"),
    ("{emit: {event: {type: x}}}", "event", "'with' is required, with type in it, as in {with"),
    ("{raise: {type: x, status: 400}}", "raise", "'error' is required, with type, status in it"),
    (TRY.replace("MORE", "catch: {errors: {status: 1}}"), "errors", "as in {with: {status: 404}}"),
    ("{wait: PT1S, timeout: {seconds: 5}}", "timeout", "'after' is required, with seconds in it"),
    ("{wait: PT1S, input: {schema: {type: object}}}", "schema", "'document' is required, with"),
    (AGENT.replace("MORE", "agent: b, output: {type: c}"), "output", "as in {schema: {type: "),
    (AGENT.replace("MORE", "agent: b, temperature: 1"), "temperature", "belongs into 'config'"),
    (HTTP.replace("MORE", "authentication: {}"), "authentication", "belongs into 'endpoint': {"),
    (TRY.replace("MORE", "retry: {}, catch: {}"), "retry", "belongs into 'catch', beside 'try'"),
    (
        TRY.replace("MORE", "catch: {retry: {attempts: 3}}"),
        "attempts",
        "belongs into 'limit': {attempt: {count: 3}}",
    ),
    (
        POLICY.replace(
            "MORE", "{oidc: {authority: 'https://a', grant: client_credentials, clientId: b}}"
        ),
        "clientId",
        "belongs into 'client': {id: …, secret: …}",
    ),
    ("{while: .x, do: []}", "while", "belongs beside 'for'"),
    # Values of another shape.
    ("{fork: [{b: {wait: PT1S}}]}", "fork", "as in {branches: [{"),
    ("{switch: {big: {then: end}}}", "switch", "as in [{large: {when: "),
    ("{for: item in .x, do: []}", "for", "as in {each: item, in: .items}"),
    ("{do: {b: {wait: PT1S}}}", "do: {b", "as in [{first: {wait: PT1S}}, "),
    (POLICY.replace("MORE", "{bearer: abc}"), "bearer", "as in {token: …}"),
    (POLICY.replace("MORE", "petStore"), "authentication", "as in {use: NAME} or {bearer: "),
    (TRY.replace("MORE", "catch: {retry: {backoff: linear}}"), "backoff", "{exponential: {}}"),
    (TRY.replace("MORE", "catch: {retry: {jitter: PT1S}}"), "jitter", "{from: PT0S, to: PT1S}"),
    (OPENAPI.replace("MORE", "document: b, operationId: c"), "document", "as in {endpoint: "),
    (GRPC.replace("MORE", "proto: b.proto"), "proto", "as in {endpoint: "),
    ("{wait: PT1S, output: .x}", "output", "as in {as: .data}"),
    # Expressions as in other languages.
    (SET.replace("MORE", "${ .a && .b }"), "&&", ": write 'and'"),
    (SET.replace("MORE", "${ .a || .b }"), "| .b", ": write 'or'"),
    (SET.replace("MORE", "${ .a === 1 }"), "= 1", ": write '=='"),
    (SET.replace("MORE", "${ .a ? 1 : 2 }"), "1 :", ": write 'if CONDITION then "),
    (SET.replace("MORE", "${ !.a }"), "!", ": write '| not'"),
    (SET.replace("MORE", "${ .a == ''b'' }"), "''b", ": texts are in double quotes"),
    (SET.replace("MORE", "${ .a.length() }"), "()", ": write '| NAME' behind"),
    (SET.replace("MORE", "${ $.a }"), "$.a", ": the data itself is '.'"),
    (SET.replace("MORE", "${ .a + ${ .b } }"), "${ .b", "there is no other ${ }"),
    (SET.replace("MORE", "${ .my-key }"), "key }", ': a key with a dash is quoted: ."my-key"'),
    (SET.replace("MORE", "${ .a | lenght }"), "lenght", "did you mean 'length'?"),
    (SET.replace("MORE", '${ .a | sub("b", "c") }'), "sub", "takes 2 or 3 arguments, separated"),
    (SET.replace("MORE", "${ $contxt.a }"), "$contxt", "did you mean '$context'?; there are $"),
    (SET.replace("MORE", "${ now }"), "now", ": see $workflow.startedAt"),
    (SET.replace("MORE", "${ $ENV.HOME }"), "$ENV", ": give it as input"),
]


@pytest.mark.parametrize(("task", "at", "told"), TASKS, ids=[task for task, _, _ in TASKS])
def test_a_mistake_of_a_task_is_told_once_with_what_is_meant(task: str, at: str, told: str) -> None:
    uses = (
        "use: {retries: {default: {}}, functions: {f: {set: {x: 1}}}, secrets: [api-key], "
        "authentications: {petStore: {bearer: {token: x}}}}\n"
    )
    line = f"do: [{{first: {{wait: PT1S}}}}, {{a: {task}}}]"
    problems = problems_in(f"{HEAD}{uses}{line}\n", TASK_KINDS)
    assert len(problems) == 1, problems
    [problem] = problems
    assert told in problem.message
    assert (problem.line, problem.column) == (3, line.index(at, line.index("{a: ")) + 1)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("functions: {f: {set: {x: 1}}}\ndo: [{a: {call: f}}]", "'functions': it belongs into"),
        ("tasks: [{a: {wait: PT1S}}]", "did you mean 'do'?"),
        ("use: {extensions: {a: {}}}\ndo: [{a: {wait: PT1S}}]", "as in [{log: {extend: all, "),
        ("use: {extensions: [{a: {extends: all}}]}\ndo: [{a: {wait: PT1S}}]", "mean 'extend'?"),
        ("use: {extensions: [{a: {extend: http}}]}\ndo: [{a: {wait: PT1S}}]", "mean 'call'?"),
        ("do: [{name: a, call: http}]", "its name, not 2 keys, as in [{first: "),
        ("timeout: PT5M\ndo: [{a: {wait: PT1S}}]", "expected {after: PT5M}"),
    ],
)
def test_a_mistake_beside_the_tasks_is_told_once(body: str, told: str) -> None:
    problems = problems_in(f"{HEAD}{body}\n", TASK_KINDS)
    assert len(problems) == 1, problems
    assert told in problems[0].message
