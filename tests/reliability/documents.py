"""Documents whose histories are recorded: every kind of task, and a run that goes on in another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HEADER = """\
document: {dsl: '1.0.3', namespace: tests, name: recorded, version: '1.0.0'}
"""


@dataclass(frozen=True)
class Document:
    """A document, and how to start it. ``faults``: it ends with an error."""

    tasks: str
    input: Any = None
    options: dict[str, int] = field(default_factory=dict)
    faults: bool = False

    @property
    def text(self) -> str:
        return HEADER + self.tasks


DOCUMENTS = {
    "set-switch-do": Document(
        """\
do:
  - first: {set: {kind: "${ .kind }", total: 1}}
  - choose:
      switch:
        - cat: {when: '.kind == "cat"', then: meow}
        - other: {then: end}
  - meow:
      do:
        - inner: {set: {said: "meow ${ .kind }"}}
""",
        input={"kind": "cat"},
    ),
    "for": Document(
        """\
do:
  - rows:
      for: {each: row, in: "[1, 2, 3]"}
      do:
        - add: {set: {total: "${ (.total // 0) + $row }"}}
        - pause: {wait: {milliseconds: 10}}
"""
    ),
    "fork": Document(
        """\
do:
  - both:
      fork:
        branches:
          - left: {do: [{pause: {wait: {milliseconds: 20}}}, {say: {set: {side: left}}}]}
          - right: {set: {side: right}}
  - race:
      fork:
        compete: true
        branches:
          - slow: {do: [{pause: {wait: {seconds: 60}}}, {say: {set: {won: slow}}}]}
          - quick: {do: [{pause: {wait: {milliseconds: 20}}}, {say: {set: {won: quick}}}]}
"""
    ),
    "try-retry-raise": Document(
        """\
do:
  - attempt:
      try:
        - fail: {raise: {error: {type: urn:flaky, status: 500}}}
      catch:
        as: problem
        retry: {delay: {milliseconds: 10}, limit: {attempt: {count: 2}}}
        do:
          - handled: {set: {after: "${ $problem.type }"}}
"""
    ),
    "raise": Document(
        "do: [{fail: {raise: {error: {type: urn:gone, status: 410, title: Gone}}}}]\n",
        faults=True,
    ),
    "timeout": Document(
        """\
do:
  - slow:
      timeout: {after: {milliseconds: 50}}
      wait: {seconds: 60}
""",
        faults=True,
    ),
    "call-agent": Document(
        """\
do:
  - both:
      fork:
        branches:
          - left:
              call: agent
              with:
                spec:
                  model: scripted:recorded
                  script: {steps: [{text: "you said {message}"}]}
                message: ${ .message }
          - right:
              call: agent
              with:
                spec:
                  model: scripted:recorded
                  script: {steps: [{text: '{"verdict": "good"}'}]}
                message: ${ .message }
                output: {schema: {document: {type: object, required: [verdict]}}}
""",
        input={"message": "hello"},
    ),
    "failed-agent": Document(
        """\
do:
  - attempt:
      try:
        - ask:
            call: agent
            with:
              message: hello
              spec:
                model: scripted:recorded
                script:
                  steps: [{failure: {reason: FAILURE_REASON_INVALID_REQUEST, message: scripted}}]
      catch:
        as: problem
        do:
          - handled: {set: {after: "${ $problem.type }"}}
"""
    ),
    "continued-as-new": Document(
        """\
do:
  - rows:
      for: {each: row, in: "[range(8)]"}
      do:
        - pause: {wait: {milliseconds: 5}}
        - add: {set: {total: "${ (.total // 0) + $row }"}}
""",
        options={"historyLength": 20},
    ),
    "long-loop": Document(
        """\
do:
  - rows:
      for: {each: row, in: "[range(200)]"}
      do:
        - add: {set: {total: "${ (.total // 0) + $row }"}}
""",
        options={"stepsPerActivation": 100},
    ),
}
