"""Names of objects: DNS labels, each once, whatever release name Helm takes."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.charts import matrix
from tests.charts.helm import (
    SERVICES,
    UMBRELLA,
    Document,
    Helm,
    RefusedError,
    environment,
    pod_specs,
)

_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LONGEST = 63
RELEASES = (
    "v1.2",
    "2stigma",
    "0.1",
    "stigma-api-and-ai-worker",
    "stigma-orchestrator-zigflow-worker-stigma-api",
    "customer-production-eu-west-1-a",
    "customer-production-eu-west-1-of-the-third-one-b",
    "stigma",
    "ai",
    "r" * 53,
)


def names(documents: list[Document]) -> list[tuple[str, str]]:
    """Return kind and name of each object."""
    return [(document["kind"], document["metadata"]["name"]) for document in documents]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("chart", [*SERVICES, UMBRELLA])
def test_every_name_is_a_label_and_used_once(helm4: Helm, chart: str, release: str) -> None:
    found = names(helm4.documents(chart, matrix.least(chart), release=release))
    assert not [name for name, times in Counter(found).items() if times > 1]
    for _, name in found:
        assert _LABEL.fullmatch(name), name
        assert len(name) <= _LONGEST


@pytest.mark.parametrize("length", range(20, 53))
def test_long_releases_have_names_of_their_own(helm4: Helm, length: int) -> None:
    first, second = (
        names(
            helm4.documents("stigma-orchestrator", matrix.least("stigma-orchestrator"), release=r)
        )
        for r in ("r" * length + "a", "r" * length + "b")
    )
    assert not {*first} & {*second}


@pytest.mark.parametrize(
    ("chart", "release", "name"),
    [
        ("stigma-api", "stigma", "stigma-api"),
        ("stigma-api", "x", "x-stigma-api"),
        ("stigma-api", "our-stigma-api-2", "our-stigma-api-2"),
        ("ai-worker", "customer-production", "customer-production-ai-worker"),
    ],
)
def test_names_that_were_right_stay(helm4: Helm, chart: str, release: str, name: str) -> None:
    documents = helm4.documents(chart, matrix.least(chart), release=release)
    assert name in {
        name for kind, name in names(documents) if kind in ("Deployment", "StatefulSet")
    }


@pytest.mark.parametrize("chart", SERVICES)
@pytest.mark.parametrize("value", [10, True, None, 1.5])
def test_a_variable_that_is_no_text_is_refused(helm4: Helm, chart: str, value: object) -> None:
    for variable in ({"name": "N", "value": value}, {"name": value, "value": "x"}):
        if variable == {"name": "N", "value": None}:
            continue  # as if it were not given
        values = matrix.merged(matrix.least(chart), {"extraEnv": [variable]})
        with pytest.raises(RefusedError, match=r"/extraEnv/0"):
            helm4.template(chart, values)


@pytest.mark.parametrize("chart", SERVICES)
def test_variables_that_look_like_something_else_stay_text(helm4: Helm, chart: str) -> None:
    given = {"N": "10", "Y": "no", "E": "1e3", "H": "0x10", "NULL": "null", "EMPTY": ""}
    variables = [{"name": name, "value": value} for name, value in given.items()]
    values = matrix.merged(matrix.least(chart), {"extraEnv": variables})
    found = [
        environment(container)
        for spec in pod_specs(helm4.documents(chart, values)).values()
        for container in spec["containers"]
        if "env" in container
    ]
    having = [variables for variables in found if "N" in variables]
    assert len(having) == (2 if chart == "stigma-api" else 1)  # its setup Job has them, too
    for each in having:
        assert {name: each[name] for name in given} == given


@pytest.mark.parametrize("chart", SERVICES)
@pytest.mark.parametrize("address", ["[::1]:7233", "[2001:db8::7]:7233", "[::ffff:192.0.2.1]:1"])
def test_an_ipv6_address_is_taken(helm4: Helm, chart: str, address: str) -> None:
    values = matrix.merged(matrix.everything(chart), {"temporal": {"address": address}})
    specs = pod_specs(helm4.documents(chart, values)).values()
    assert address in {
        environment(container).get("TEMPORAL_ADDRESS")
        for spec in specs
        for container in spec["containers"]
        if "env" in container
    }


@pytest.mark.parametrize("address", ["::1:7233", "[::1]", "[::1:7233", "[x]:1"])
def test_half_an_ipv6_address_is_refused(helm4: Helm, address: str) -> None:
    with pytest.raises(RefusedError, match="/temporal/address"):
        helm4.template("ai-worker", {"temporal": {"address": address}})
