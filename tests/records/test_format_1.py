"""Every record of format 1 that was ever released is still read.

The samples in format1/ were written by version 0.1.0 (commit 5948f0c) and must never be changed: when a format gets a
new number, a folder of its own with samples is added beside this one.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from kfp_bert_components.bert import read_bundle
from kfp_bert_components.data.profile import parse_profile
from kfp_bert_components.data.splits import read_split
from kfp_bert_components.deployment import deploy_to_serving_directory
from kfp_bert_components.evaluation import read_evaluation
from kfp_bert_components.evaluation.slices import find_slices
from kfp_bert_components.fetch.manifest import read_manifest
from kfp_bert_components.gate import Policy, read_decision
from kfp_bert_components.jobs.records import read_result, read_settings
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import Access, open_store
from kfp_bert_components.training import TrainingSettings

SAMPLES = Path(__file__).parent / "format1"
LABELS = ["calm", "shout <b>"]


@pytest.fixture
def registry(tmp_path):
    shutil.copytree(SAMPLES / "registry", tmp_path / "registry")
    return Registry(str(tmp_path / "registry"))


def test_a_decision():
    made = read_decision(SAMPLES / "decision")
    assert made.promote and made.gate_outcome == "PROMOTE" and made.reason.startswith("Macro F1 rose by 0.381")
    assert (made.candidate_fingerprint, made.champion_version, made.test_fingerprint) == ("model new", 1, "test")
    assert made.difference["metric"] == "macro_f1" and made.difference["rows"] == 40
    assert [one["passed"] for one in made.guardrails] == [True, True, True]
    assert made.test_set == pytest.approx({"number": 2, "alpha": 0.05 / 6, "left": 0.05 / 3, "counted": True})
    assert Policy(**made.policy) == Policy(max_class_drop=0.5, min_rows=5, max_latency_ratio=2.0)


def test_an_evaluation_with_its_predictions():
    found = read_evaluation(SAMPLES / "evaluation")
    assert not found.empty and found.labels == LABELS and found.model_version is None
    assert (found.model_fingerprint, found.test_fingerprint) == ("model new", "test")
    assert found.metrics["accuracy"]["value"] == 1.0 and found.metrics["accuracy"]["low"] == pytest.approx(
        0.912, abs=1e-3
    )
    assert found.system == {"latency_p50_ms": 2.5, "latency_p95_ms": 4.0, "size_bytes": 1000.0}
    assert found.truth().shape == (40,) and (found.probabilities().argmax(1) == found.truth()).all()
    assert sum(int(found.members(name).sum()) for name in found.slices) == 40


def test_an_empty_evaluation():
    found = read_evaluation(SAMPLES / "empty_evaluation")
    assert found.empty and found.labels == LABELS and found.champion_generation == 0


def test_the_champion_and_its_log(registry):
    champion = registry.champion()
    assert (champion.version, champion.by) == (2, "ann on pod-a")
    assert [one["event"] for one in champion.log] == ["promoted", "promoted", "rolled back", "rolled back"]


def test_versions_with_every_file(registry, tmp_path):
    first, second = registry.versions()
    assert (first.version, first.parent, second.version, second.parent) == (1, None, 2, 1)
    assert second.bundle_fingerprint == "model new" and second.package_version == "0.1.0"
    assert second.parameters["batch_size"] == 16 and second.metrics["macro_f1"]["value"] == 1.0
    assert registry.verify() == []
    registry.fetch_bundle(2, tmp_path / "bundle")
    assert read_bundle(tmp_path / "bundle").labels == LABELS


def test_deployment_records(registry):
    live, failed = registry.deployment("production"), registry.deployment("staging")
    assert (live.state, live.version, live.live_version) == ("live", 2, 2)
    assert live.details["facts"]["number"] == 1
    assert (failed.state, failed.version, failed.reason) == ("failed", 1, "the smoke test failed")
    assert not registry.deployment_pending("production") and registry.deployment_pending("staging")


def test_notes_of_promotions_and_of_what_gc_removed(registry):
    texts = [event.text for event in registry.history()]
    assert len(texts) == 8 and texts[-1].startswith("Version 3 was removed: never became champion")
    assert registry.gc().remove == {}  # reads the notes of all promotions


def test_uses_of_a_test_set(registry):
    recorded = json.loads((SAMPLES / "registry" / "test_sets" / "test.json").read_text())["uses"][0]["policy"]
    rules = {key: value for key, value in Policy().as_dict().items() if key in recorded}
    known = {"candidate": "model old", "champion_version": None, "policy": rules}
    test = read_evaluation(Path(registry.uri) / "versions" / "1" / "evaluation")
    again, rows = registry.count_use(test, 0.05, known)
    assert (again.number, again.left_out) == (1, 0) and rows.all()
    another = known | {"candidate": "another"}
    assert registry.count_use(test, 0.05, another)[0].number == 3
    # A row more: all others have decided three times.
    row = test.predictions.slice(0, 1).drop_columns(["text_key"]).append_column("text_key", pa.array(["another"]))
    both = pa.concat_tables([test.predictions, row.cast(test.predictions.schema)])
    grown = replace(test, test_fingerprint="grown", predictions=both)
    use, _ = registry.count_use(grown, 0.05, another)
    assert (use.number, use.rows - use.fresh, use.fresh) == (4, test.predictions.num_rows, 1)
    assert registry.verify() == []


def test_what_lies_in_a_serving_directory(registry, tmp_path):
    shutil.copytree(SAMPLES / "serving", tmp_path / "serving")
    name = "deployments/production.json"
    record = registry.store.read(name).data.replace(b'"/serving"', json.dumps(str(tmp_path / "serving")).encode())
    registry.store.write(name, record)  # as if it had been written on this machine
    before = registry.deployment("production")
    deployed = deploy_to_serving_directory(registry.uri, str(tmp_path / "serving"))
    assert (deployed.serving_uri, deployed.version) == (str(tmp_path / "serving" / "1"), 2)
    assert registry.deployment("production") == before  # it was recognised as live, and nothing was done


def test_splits_and_the_profile_of_the_training_data():
    splits = {name: read_split(SAMPLES / "splits" / name) for name in ("train", "validation", "test")}
    assert {name: one.table.num_rows for name, one in splits.items()} == {"train": 36, "validation": 9, "test": 16}
    assert all(one.labels == ["calm", "shout"] and not one.pair for one in splits.values())
    assert not any("train" in name for name in find_slices(splits["test"].table))  # it does not say what train has
    place = SAMPLES / "splits" / "train" / "data_profile.json"
    profile = parse_profile(place.read_bytes(), str(place))
    assert (profile.rows, profile.labels, profile.word_total) == (36, {"calm": 20, "shout": 16}, 142)
    assert profile.words["조용한"] == 20 and profile.fingerprint == splits["train"].fingerprint


def test_a_manifest():
    found = read_manifest(str(SAMPLES / "fetch"), Access())
    assert [(one.path, one.size) for one in found.objects] == [("a.csv", 1441), ("b #1.csv", 26)]
    assert found.fingerprint.startswith("7a3d2c14")


def test_a_bundle():
    found = read_bundle(SAMPLES / "bundle")
    assert found.labels == ["calm", "shout"] and found.fingerprint.startswith("fb7f34f5")
    assert found.metadata["max_length"] == 16 and found.metadata["parameters"]["learning_rate"] == 0.001


def test_a_checkpoint(tmp_path):
    from kfp_bert_components.training.checkpoints import Checkpoints

    shutil.copytree(SAMPLES / "checkpoints", tmp_path / "checkpoints")
    found = Checkpoints(str(tmp_path / "checkpoints"), {"train": "abc"}, "model", minutes=1, steps=0).restore()
    state = found.state
    assert (state.trial, state.step, state.outcomes, state.examples) == (1, 2, ["finished"], 64)
    assert state.curve[-1] == (1, 2, 0.5, 5e-5, 0.75)
    assert state.evaluations[0]["metrics"]["accuracy"] == 0.75 and np.isnan(state.evaluations[0]["metrics"]["mcc"])
    assert (state.best.step, state.best.value, state.best.weights[1].tolist()) == (2, 0.625, [3.0])
    assert [one.tolist() for one in found.weights] == [[[4.0, 5.0]], [6.0]]


def test_settings_and_result_of_a_custom_job():
    store = open_store(str(SAMPLES / "custom_job"))
    settings = TrainingSettings(**read_settings(store))
    assert (settings.batch_size, settings.max_length, settings.width, settings.metric) == (16, 16, 8, "macro_f1")
    metrics = read_result(store)
    assert metrics["steps"] == 3.0 and metrics["validation_macro_f1"] == 0.25
