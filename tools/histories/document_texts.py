"""The documents of `documents.py`; WEB_URL and GRPC_PORT stand for what they call."""

from __future__ import annotations

from typing import Final

from tests.reliability.documents import Document

CALLS: Final = {
    "http": Document(
        """\
use:
  secrets: [shop]
  authentications:
    shop: {basic: {use: shop}}
    machine:
      oauth2:
        authority: WEB_URL
        grant: client_credentials
        client: {id: records, secret: "${ $secrets.shop.key }"}
do:
  - order:
      call: http
      with:
        method: get
        endpoint: {uri: "WEB_URL/orders/{id}", authentication: {use: shop}}
        query: {fields: [id, total]}
        headers: {X-Api-Key: "${ $secrets.shop.key }"}
      output: {as: "${ { id, total, by: $authorization.scheme } }"}
  - tell:
      call: http
      with:
        method: post
        endpoint: {uri: "WEB_URL/echo", authentication: {use: machine}}
        body: {text: '${ "Order \\(.id) costs \\(.total)" }'}
        output: response
      output: {as: "${ { status: .statusCode, content: .content } }"}
  - lost:
      try: [{ask: {call: http, with: {method: get, endpoint: "WEB_URL/nowhere"}}}]
      catch:
        errors: {with: {status: 404}}
        as: problem
        retry: {delay: {milliseconds: 10}, backoff: {exponential: {}}, limit: {attempt: {count: 1}}}
        do: [{say: {set: {status: "${ $problem.status }"}}}]
  - slow:
      try:
        - ask:
            call: http
            with: {method: get, endpoint: "WEB_URL/silence"}
            timeout: {after: {milliseconds: 300}}
      catch: {do: [{late: {set: {late: true}}}]}
""",
        input={"id": "7"},
    ),
    "openapi": Document(
        """\
use: {secrets: [shop]}
do:
  - order:
      call: openapi
      with:
        document: {endpoint: "WEB_URL/openapi.json"}
        operationId: getOrder
        parameters: {id: "${ .id }"}
        authentication: {bearer: {token: "${ $secrets.shop.key }"}}
  - unknown:
      try:
        - ask:
            call: openapi
            with: {document: {endpoint: "WEB_URL/openapi.json"}, operationId: none}
      catch: {as: problem, do: [{say: {set: {status: "${ $problem.status }"}}}]}
""",
        input={"id": "7"},
    ),
    "grpc": Document(
        """\
do:
  - say:
      call: grpc
      with:
        proto: {endpoint: "file:///mirror.proto"}
        service: {name: records.v1.Mirror, host: 127.0.0.1, port: GRPC_PORT}
        method: Say
        arguments: {text: "${ .text }"}
  - fail:
      try:
        - ask:
            call: grpc
            with:
              proto: {endpoint: "file:///mirror.proto"}
              service: {name: records.v1.Mirror, host: 127.0.0.1, port: GRPC_PORT}
              method: Fail
              arguments: {}
      catch: {as: problem, do: [{say: {set: {status: "${ $problem.status }"}}}]}
""",
        input={"text": "hi"},
    ),
    "cancelled": Document(
        """\
do:
  - both:
      fork:
        branches:
          - ask: {call: http, with: {method: get, endpoint: "WEB_URL/silence"}}
          - pause: {wait: {seconds: 60}}
"""
    ),
}

OF_TODAY: Final[dict[str, tuple[Document, tuple[str, ...]]]] = {
    "call-http": (
        CALLS["http"],
        ("task: call http", "authentication", "secrets in a call", "$authorization"),
    ),
    "call-openapi": (CALLS["openapi"], ("task: call openapi",)),
    "call-grpc": (CALLS["grpc"], ("task: call grpc",)),
    "functions": (
        Document(
            """\
use:
  functions:
    gross: {set: "${ .net * (100 + .rate) / 100 }"}
    ask: {call: http, with: {method: get, endpoint: "WEB_URL/orders/7"}}
    slowly:
      do:
        - pause: {wait: {milliseconds: 5}}
        - total: {call: gross, with: {net: "${ .n }", rate: 20}}
do:
  - rows:
      for: {each: row, in: "[range(8)]"}
      do:
        - each: {call: slowly, with: {n: "${ $row }"}}
  - order: {call: ask}
""",
            options={"historyLength": 20},
        ),
        ("task: call function", "function continued as new"),
    ),
    "extensions": (
        Document(
            """\
use:
  extensions:
    - mock:
        extend: call
        before: [{answer: {set: {rate: 1.25}, then: exit}}]
    - count:
        extend: all
        when: '$task.name != "skipped"'
        before: [{pause: {wait: {milliseconds: 5}}}]
        after: [{one: {set: {seen: true}, export: {as: "${ $context + {last: $task.name} }"}}}]
do:
  - rate: {call: http, with: {method: get, endpoint: "WEB_URL/nowhere"}}
  - price: {set: {price: "${ .rate * 8 }"}}
  - skipped: {set: {last: "${ $context.last }"}}
"""
        ),
        ("extensions",),
    ),
    "emit": (
        Document(
            """\
do:
  - placed:
      emit:
        event: {with: {type: com.example.placed.v1, subject: "${ .order }", data: {n: 12}}}
""",
            input={"order": "o-1"},
        ),
        ("task: emit",),
    ),
    "schema-resource": (
        Document(
            """\
input: {schema: {format: json, resource: {endpoint: "WEB_URL/schema.json"}}}
do:
  - rows:
      for: {each: row, in: "[range(6)]"}
      do:
        - pause: {wait: {milliseconds: 5}}
        - add: {set: {n: "${ .n + 1 }"}}
""",
            input={"n": 1},
            options={"historyLength": 20},
        ),
        ("schema resource", "schema resource continued as new"),
    ),
    "schema-refused": (
        Document(
            "input: {schema: {resource: {endpoint: 'WEB_URL/schema.json'}}}\n"
            "do: [{say: {set: {n: 1}}}]\n",
            input={"m": 1},
            faults=True,
        ),
        ("schema resource",),
    ),
    "agent-fields": (
        Document(
            """\
do:
  - ask:
      call: agent
      with:
        spec: {model: scripted:recorded, script: {steps: [{text: "you said {message}"}]}}
        message: ${ .message }
        session: of-a-document
        sessionPolicy: ENQUEUE
        partialText: true
        config: {timeout: PT1M, limits: {steps: 4.0}}
        heartbeatTimeout: PT30S
        labels: {team: core}
""",
            input={"message": "hello"},
        ),
        ("task: call agent", "session of a document"),
    ),
    "rules-of-tasks": (
        Document(
            """\
input: {from: "${ .order }"}
timeout: {after: {minutes: 5.0}}
do:
  - skipped: {if: "${ .n > 100 }", set: {n: 0}}
  - add:
      input: {from: "${ {n: .n} }", schema: {document: {type: object, required: [n]}}}
      set: {n: "${ .n + 1 }"}
      output: {as: "${ . + {more: true} }", schema: {document: {type: object}}}
      export: {as: "${ {seen: .n} }"}
  - wait: {wait: {milliseconds: 20}}
  - loop:
      for: {each: row, in: "[range(9)]", at: index}
      while: $index < 3
      do:
        - one: {set: {row: "${ $row }"}}
output: {as: "${ {seen: $context.seen, last: .} }"}
""",
            input={"order": {"n": 1}},
        ),
        ("rules of tasks",),
    ),
    "form-refused": (
        Document("do: [{say: {set: {n: 1}, metadata: text}}]\n", faults=True),
        ("document refused",),
    ),
    "output-refused": (
        Document("do: [{say: {set: {n: '${ infinite }'}}}]\n", faults=True),
        ("document output refused",),
    ),
    "raise-float": (
        Document("do: [{fail: {raise: {error: {type: urn:a, status: 500.0}}}}]\n", faults=True),
        ("task: raise",),
    ),
}
