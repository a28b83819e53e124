"""The examples that this release runs: the input of each, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.conformance.runs import Outcome
from tests.conformance.stand_ins import Received, StandIns

PETSTORE = "petstore.swagger.io/v2/pet"
ANYTHING: Any = object()
"""An output that `check` alone looks at."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run of one example. An example that faults by design has a `problem`."""

    input: Any = None
    output: Any = ANYTHING
    problem: dict[str, Any] | None = None
    """Properties that the error must have."""
    check: Callable[[Outcome, StandIns], object] | None = None
    """Asserts on more: the tasks that ran, the requests that were sent."""
    seconds: float = 0
    """The time that the run takes at least, by its waits."""


def pet(name: Any, number: Any = None) -> dict[str, Any]:
    """The pet that the stand-in has under that id."""
    return {"id": number or name, "name": "Rex", "status": "available"}


def ran(*names: str) -> Callable[[Outcome, StandIns], object]:
    """Assert on the tasks that ran, skipped ones left out, in order."""

    def check(outcome: Outcome, _: StandIns) -> None:
        began = [entry["name"] for entry in outcome.trace if entry["status"] != "skipped"]
        assert began == list(names)

    return check


def sent(method: str, url: str, **expected: Any) -> Callable[[Outcome, StandIns], object]:
    """Assert that one of the requests to a host and path has all these properties."""

    def check(_: Outcome, outside: StandIns) -> None:
        requests = outside.requests(method, url)
        assert any(_has(request, expected) for request in requests), requests

    return check


def _has(request: Received, expected: dict[str, Any]) -> bool:
    headers = expected.get("headers", {})
    return all(
        getattr(request, name) == value for name, value in expected.items() if name != "headers"
    ) and all(request.headers.get(name) == value for name, value in headers.items())


def an_event(outcome: Outcome, _: StandIns) -> None:
    """Assert that the output is the example's event."""
    event = outcome.output
    assert (event["specversion"], event["source"]) == ("1.0", "https://petstore.com")
    assert event["type"] == "com.petstore.order.placed.v1"
    assert event["data"]["items"] == [{"breed": "dalmatian", "quantity": 101}]
    assert event.keys() == {"specversion", "id", "source", "type", "time", "data"}


def tried_twice(outcome: Outcome, _: StandIns) -> None:
    """Assert that the second attempt succeeded."""
    assert outcome.statuses("getPet") == ["faulted", "completed"]


LUKE = {"count": 1, "results": [{"name": "Luke Skywalker"}]}
NOT_IMPLEMENTED = {
    "type": "https://serverlessworkflow.io/errors/not-implemented",
    "status": 500,
    "title": "Not Implemented",
    "detail": "The workflow 'raise-not-implemented:0.1.0' is a work in progress and cannot be run"
    " yet",
    "instance": "/do/0/notImplemented",
}
BET = {"customer": ".customer", "bet": ".bet"}
"""A body without `${}`: data, not expressions."""

CASES: dict[str, Case] = {
    "authentication-bearer": Case(
        input={"token": "token-1"},
        output=pet(1),
        check=sent("GET", f"{PETSTORE}/1", headers={"authorization": "Bearer token-1"}),
    ),
    "authentication-bearer-uri-format": Case(
        input={"token": "token-of-bearer", "petId": "bearer"}, output=pet("bearer")
    ),
    "authentication-oauth2": Case(input={"petId": "oauth2"}, output=pet("oauth2")),
    "authentication-oauth2-secret": Case(
        input={"petId": "oauth2-secret"}, output=pet("oauth2-secret")
    ),
    "authentication-oidc": Case(input={"petId": "oidc"}, output=pet("oidc")),
    "authentication-oidc-secret": Case(input={"petId": "oidc-secret"}, output=pet("oidc-secret")),
    "authentication-reusable": Case(
        input={"token": "token-of-reusable", "petId": "reusable"}, output=pet("reusable")
    ),
    "call-custom-function-inline": Case(output=pet("69", 69)),
    "call-grpc": Case(input={"user": {"preferredDisplayName": "Ada"}}, output={"message": "Ada"}),
    "call-http-endpoint-interpolation": Case(input={"petId": 2}, output=pet("2", 2)),
    "call-http-endpoint-interpolation-shorthand": Case(input={"petId": 2}, output=pet("2", 2)),
    "call-http-query-headers-expressions": Case(
        input={"searchQuery": "luke"},
        output=LUKE,
        check=sent(
            "GET",
            "swapi.dev/api/people/",
            query="search=luke",
            headers={"accept": "application/json"},
        ),
    ),
    "call-http-query-parameters": Case(input={"searchQuery": "luke"}, output=LUKE),
    "call-http-redirect": Case(
        input={"searchQuery": "moved"},
        output=LUKE,
        check=sent("GET", "swapi.dev/api/people/", query="search=moved"),
    ),
    "call-openapi": Case(output=[pet(1)]),
    "call-openapi-redirect": Case(output=[pet(1)]),
    "conditional-task": Case(
        input={"customer": {"age": 20}, "bet": 5},
        output={"accepted": BET},
        check=ran("placeBet"),
    ),
    "do-multiple": Case(
        input={"petId": 1},
        output={**pet(1), "status": "sold"},
        check=sent("PUT", f"{PETSTORE}/", json={**pet(1), "status": "sold"}),
    ),
    "do-single": Case(input={"petId": 1}, output=pet(1)),
    "emit": Case(check=an_event),
    "for-inline-array": Case(
        output={
            "processed": [
                {"name": "red", "hex": "#FF0000"},
                {"name": "green", "hex": "#00FF00"},
                {"name": "blue", "hex": "#0000FF"},
            ]
        }
    ),
    "fork": Case(
        input={"patient": {"fullName": "Jane Doe"}, "room": {"number": 7}},
        output={"called": "doctor", "patientId": "Jane Doe", "room": 7},
        check=sent(
            "PUT",
            "fake-hospital.com/api/v3/alert/nurses",
            json={"patientId": "Jane Doe", "room": 7},
        ),
    ),
    # `$task` is the descriptor, which has no `with`: the service is not mocked.
    "mock-service-extension": Case(output={"real": True}, check=ran("callHttp")),
    "raise-inline": Case(problem=NOT_IMPLEMENTED),
    "raise-reusable": Case(problem=NOT_IMPLEMENTED),
    "star-wars-homeworld": Case(input={"id": 1}, output={"name": "Tatooine"}),
    "switch-then-string": Case(
        input={"orderType": "physical"},
        output={"inventory": "clear", "items": 1, "address": "Elmer St"},
        check=ran("processOrder", "processPhysicalOrder"),
    ),
    "try-catch": Case(input={"petId": "missing"}, output={"petId": "missing"}),
    "try-catch-retry-inline": Case(
        input={"petId": "flaky-inline"}, output=pet("flaky-inline"), check=tried_twice, seconds=3
    ),
    "try-catch-retry-reusable": Case(
        input={"petId": "flaky-reusable"},
        output=pet("flaky-reusable"),
        check=tried_twice,
        seconds=3,
    ),
    "try-catch-then": Case(
        input={"petId": "missing"},
        output={"error": "$error"},
        check=ran("tryGetPet", "getPet", "notifySupport", "setError"),
    ),
    "try-catch-then-directive": Case(
        output={"status": "failed"},
        check=ran("trySomething", "callExternalService", "recordFailure"),
    ),
    "wait-duration-inline": Case(input={"a": 1}, output={"a": 1}, seconds=30),
    "wait-duration-iso8601": Case(input={"a": 1}, output={"a": 1}, seconds=30),
}

_LISTEN, _RUN = "task kind 'listen'", "task kind 'run'"
REFUSED: dict[str, tuple[str, str]] = {
    "accumulate-room-readings": ("/do/0/consumeReading/listen", _LISTEN),
    "call-asyncapi-publish": ("/do/0/findPet/call", "task kind 'call: asyncapi'"),
    "call-asyncapi-subscribe-consume-amount": (
        "/do/0/getNotifications/call",
        "task kind 'call: asyncapi'",
    ),
    "call-asyncapi-subscribe-consume-forever-foreach": (
        "/do/0/getNotifications/call",
        "task kind 'call: asyncapi'",
    ),
    "call-asyncapi-subscribe-consume-until": (
        "/do/0/getNotifications/call",
        "task kind 'call: asyncapi'",
    ),
    "call-asyncapi-subscribe-consume-while": (
        "/do/0/getNotifications/call",
        "task kind 'call: asyncapi'",
    ),
    "call-custom-function-cataloged": ("/do/0/log/call", "functions of catalogs are"),
    "call-mcp": ("/do/0/publishMessageToSlack/call", "task kind 'call: mcp'"),
    "for": ("/do/0/checkup/do/0/waitForCheckup/listen", _LISTEN),
    "listen-to-all": ("/do/0/callDoctor/listen", _LISTEN),
    "listen-to-all read-envelope": ("/do/0/callDoctor/listen", _LISTEN),
    "listen-to-any": ("/do/0/callDoctor/listen", _LISTEN),
    "listen-to-any-filter": ("/do/0/callDoctor/listen", _LISTEN),
    "listen-to-any-forever-foreach": ("/do/0/listenToGossips/listen", _LISTEN),
    "listen-to-any-until-condition": ("/do/0/callDoctor/listen", _LISTEN),
    "listen-to-any-until-consumed": ("/do/0/callDoctor/listen", _LISTEN),
    "listen-to-one": ("/do/0/waitForStartup/listen", _LISTEN),
    **{
        f"run-{name}": ("/do/0/runContainer/run", _RUN)
        for name in (
            *("container", "container-cleanup-always", "container-cleanup-eventually"),
            *("container-with-name", "container-with-pull-policy"),
            *("return-all", "return-code", "return-none", "return-stderr"),
        )
    },
    "run-container-stdin-and-arguments": ("/do/1/runContainer/run", _RUN),
    "run-script-with-stdin-and-arguments": ("/do/0/runScript/run", _RUN),
    "run-shell-stdin-and-arguments": ("/do/1/runShell/run", _RUN),
    "run-subflow": ("/do/0/registerCustomer/run", _RUN),
    "schedule-cron": ("/schedule", "'schedule'"),
    "schedule-event-driven": ("/schedule", "'schedule'"),
    "set": ("/schedule", "'schedule'"),
    "set-expression": ("/schedule", "'schedule'"),
}
"""The examples of a later release: where each is refused, and for what."""
