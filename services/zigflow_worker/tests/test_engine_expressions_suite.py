"""jq's own tests pass, but for a list of differences with their reasons: `make jq-tests`."""

import pytest

from services.zigflow_worker.tests import jq_suite

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("name", jq_suite.FILES)
def test_jqs_own_tests_differ_only_as_listed(name: str) -> None:
    folder = jq_suite.folder()
    assert folder is not None, f"STIGMA_JQ_TESTS is not the folder `tests` of {jq_suite.VERSION}"
    tests = jq_suite.read(folder / name)
    failed = jq_suite.failures(tests)
    listed = jq_suite.accepted(name)
    print(f"{name}: {jq_suite.counts(tests, failed)}")  # noqa: T201
    by_id = {test.id: test for test in tests}
    new = [f"{by_id[one]}: {failed[one]}" for one in failed.keys() - listed.keys()]
    assert not new, "new differences:\n" + "\n".join(new)
    assert not listed.keys() - failed.keys(), "these pass now, or are no tests: unlist them"


def test_every_listed_difference_has_a_reason() -> None:
    for name in jq_suite.FILES:
        for identity, why in jq_suite.accepted(name).items():
            assert why.split(":")[0] in jq_suite.REASONS, f"{name} {identity}: {why}"
