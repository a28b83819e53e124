"""A release's histories have all that its workflows do: what has none could not be replayed."""

from __future__ import annotations

import base64
import json

import pytest

from tests.stack.histories import readable
from tests.upgrades.past_release import releases
from tools.histories.__main__ import SCENARIOS
from tools.histories.contents import UNRECORDED, contents, declared, features
from tools.histories.outside import SECRET

# 0.1.0 was recorded before there was such a list.
LISTED = [release for release in releases() if release.name != "0.1.0"]


def test_each_feature_has_a_scenario() -> None:
    recorded = {feature for scenario in SCENARIOS for feature in scenario.features}
    assert features() - recorded == UNRECORDED.keys() & features()


def test_scenarios_are_told_apart_by_their_names() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)


def test_what_is_not_recorded_is_declared() -> None:
    assert UNRECORDED.keys() <= declared() | features()


def test_the_names_in_a_release_s_histories() -> None:
    """Names of the release before the list are found by the same means."""
    names = contents((releases()[0] / "histories").glob("*.json"))
    assert {"workflow: AgentWorkflow", "activity: call_model", "signal: bind"} <= names
    assert "activity: deliver_callback" in names  # a local activity
    assert declared() - names >= {"workflow: SessionWorkflow", "update: submit_input"}


def test_the_newest_release_s_histories_have_every_name() -> None:
    """Its code is today's, or it is older: what is new is recorded with the next release."""
    for release in LISTED[-1:]:
        names = contents((release / "histories").glob("*.json"))
        assert declared() - names == UNRECORDED.keys() & declared()


def test_no_history_has_a_secret() -> None:
    for release in LISTED:
        for path in (release / "histories").glob("*.json"):
            assert SECRET not in readable(path.read_text()), path


@pytest.mark.parametrize("text", [SECRET, f"Bearer {SECRET}"])
def test_a_secret_in_a_payload_is_found(text: str) -> None:
    data = base64.b64encode(text.encode()).decode()
    assert SECRET in readable(json.dumps({"events": [{"payloads": [{"data": data}]}]}))
