"""Records that know where they were made: version of format 2, claim of format 3, decision of format 4, profile of 2.

The sample in format4/registry must never be changed. Older samples know nothing of it.
"""

import shutil
from pathlib import Path

import pytest

from kfp_bert_components.data.profile import parse_profile
from kfp_bert_components.gate import read_decision
from kfp_bert_components.origin import read_origin
from kfp_bert_components.registry import Registry

SAMPLES = Path(__file__).parent
RUN_ID = "7ce82970-d2e6-40eb-b980-9dcaf816aab0"


@pytest.fixture
def registry(tmp_path):
    shutil.copytree(SAMPLES / "format4" / "registry", tmp_path / "registry")
    return Registry(str(tmp_path / "registry"))


def test_a_version_with_its_run_its_artifacts_and_its_data(registry):
    version = registry.version(1)
    origin = read_origin(version.origin)
    assert (origin.run_id, origin.run_name, origin.pod) == (RUN_ID, "Nightly run", "pod-a")
    assert set(origin.artifacts) == {"model", "evaluation", "decision"}
    assert version.data["objects"] == [["gs://my-bucket/lines/one.csv", 17, 120]]
    assert all(read_origin(event.origin).is_of(RUN_ID) for event in registry.history())
    assert registry.deployment("production").origin["page"].endswith(f"/#/runs/details/{RUN_ID}")
    assert not [one for one in registry.verify() if "lineages" not in one]


def test_a_decision_by_hand_and_a_profile(registry):
    folder = Path(registry.uri) / "versions" / "1"
    decision = read_decision(folder / "decision")
    assert decision.policy["override_by"] == "ann" and read_origin(decision.origin).is_of(RUN_ID)
    profile = parse_profile((folder / "bundle" / "data_profile.json").read_bytes(), "data_profile.json")
    assert profile.fetched.sources == ["gs://my-bucket/lines/*.csv"] and profile.fetched.files == 1


def test_older_records_know_nothing_of_it():
    registry = Registry(str(SAMPLES / "format1" / "registry"))
    assert [(one.origin, one.data) for one in registry.versions()] == [({}, {}), ({}, {})]
    assert registry.deployment("production").origin == {} and registry.history()[0].origin == {}
    assert read_decision(SAMPLES / "format3" / "warned").origin == {}
