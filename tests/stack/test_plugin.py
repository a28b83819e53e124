"""What the plugin does to a run: skips that fail, the contract's table, the databases."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from tests.stack.tables import DIRECTORY

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]

CONTRACT = """
    import pytest

    @pytest.mark.contract("agent succeeds")
    def test_success(): pass

    @pytest.mark.contract("agent succeeds")
    def test_success_again(): pass

    @pytest.mark.contract("agent fails, any exception")
    def test_failure(): assert False

    @pytest.mark.contract("API down")
    def test_down(): pytest.skip("needs Docker: apt-get install docker.io")

    @pytest.mark.contract("no token")
    def test_deselected(): pass
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for variable in ("STIGMA_NO_SKIP", DIRECTORY):  # of the run that runs these tests
        monkeypatch.delenv(variable, raising=False)
    pytester.makeini("[pytest]\nmarkers = contract(row, *kinds): one row")
    return pytester


def test_the_contracts_table_has_a_line_a_row(run: pytest.Pytester) -> None:
    run.makepyfile(CONTRACT)
    result = run.runpytest_subprocess("-p", "tests.stack.plugin", "-k", "not deselected")
    result.stdout.fnmatch_lines(
        [
            "*failure contract*",
            "passed   agent succeeds (2 tests)",
            "failed   agent fails, any exception (1 test)",
            "missing  agent exceeds its deadline",
            "skipped  API down (1 test, containers)",
            "not run  no token",
        ]
    )


def test_a_row_that_the_contract_does_not_have_is_an_error(run: pytest.Pytester) -> None:
    run.makepyfile("import pytest\n@pytest.mark.contract('agent succeedz')\ndef test_it(): pass")
    result = run.runpytest_subprocess("-p", "tests.stack.plugin")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_it: the contract has no row 'agent succeedz'*"])


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("@pytest.mark.contract('no token', 'engine')", "there is no kind 'engine' of executions*"),
        ("pytestmark = pytest.mark.contract('no token')\n", "*: write the mark there"),
    ],
    ids=["kind", "place"],
)
def test_a_mark_that_the_documents_could_not_have_is_an_error(
    run: pytest.Pytester, source: str, complaint: str
) -> None:
    run.makepyfile(f"import pytest\n{source}\ndef test_it(): pass")
    result = run.runpytest_subprocess("-p", "tests.stack.plugin")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*test_it: {complaint}"])


def test_a_skip_is_a_failure_where_everything_is_installed(
    run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STIGMA_NO_SKIP", "1")
    run.makepyfile(
        test_one="import pytest\ndef test_it(): pytest.skip('needs Helm')",
        test_two="import pytest\n@pytest.mark.xfail\ndef test_known(): assert False",
        test_three="import pytest\npytest.skip('needs Go', allow_module_level=True)",
    )
    result = run.runpytest_subprocess("-p", "tests.stack.plugin", "--continue-on-collection-errors")
    result.assert_outcomes(failed=1, xfailed=1, errors=1)
    result.stdout.fnmatch_lines_random(
        ["*needs Helm (STIGMA_NO_SKIP=1*", "*needs Go (STIGMA_NO_SKIP=1*"]
    )


def test_a_skip_stays_a_skip_elsewhere(run: pytest.Pytester) -> None:
    run.makepyfile("import pytest\ndef test_it(): pytest.skip('needs Helm')")
    run.runpytest_subprocess("-p", "tests.stack.plugin").assert_outcomes(skipped=1)


async def test_postgres_answers(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    try:
        assert await asyncio.wait_for(connection.fetchval("select 6 * 7"), 60) == 42
    finally:
        await connection.close()
