from __future__ import annotations

import pytest

from tests.charts.helm import TOOLS, Helm
from tests.charts.schemas import kubernetes_versions

_KUBERNETES_VERSIONS = 3


_VERSIONS = [pytest.param(4, id="helm4"), pytest.param(3, id="helm3", marks=pytest.mark.soak)]


@pytest.fixture(scope="session", params=_VERSIONS)
def helm(request: pytest.FixtureRequest) -> Helm:
    """Each version of Helm that the charts are for; the older one in `make soak` alone."""
    return _helm(request.param)


@pytest.fixture(scope="session")
def helm4() -> Helm:
    """The newer one, where one is enough: a test shows that both render the same."""
    return _helm(4)


@pytest.fixture(scope="session")
def helm3() -> Helm:
    """The older one."""
    return _helm(3)


def _helm(major: int) -> Helm:
    found = Helm(major)
    if not found.program.exists() or len(kubernetes_versions()) != _KUBERNETES_VERSIONS:
        pytest.skip(f"Helm {major} or the schemas are not in {TOOLS}: run tools/charts/ensure")
    return found
