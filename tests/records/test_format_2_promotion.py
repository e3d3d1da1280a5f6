"""Records of format 2 are read: evaluations and decisions that know their files, claims that know what became of them.

The samples in format2/ must never be changed: when a format gets a new number, a folder of its own is added.
"""

import shutil
from pathlib import Path

from kfp_bert_components.evaluation import read_evaluation
from kfp_bert_components.gate import check_decision, read_decision
from kfp_bert_components.registry import Registry
from tests.support.evaluations import some_test_set

SAMPLES = Path(__file__).parent / "format2"


def test_an_evaluation_knows_the_files_of_its_bundle():
    found = read_evaluation(SAMPLES / "evaluation")
    assert found.labels == ["calm", "shout <b>"] and found.predictions.num_rows == 40
    assert {name: value[:8] for name, value in found.bundle_files.items()} == {
        "bundle.json": "72894bae",
        "saved_model/saved_model.pb": "aac4b157",
    }


def test_a_decision_knows_the_files_of_the_evaluation():
    made = read_decision(SAMPLES / "decision")
    check_decision(made, SAMPLES)
    assert (made.outcome, made.candidate_fingerprint, made.champion_version) == ("PROMOTE", "model new", 1)
    assert made.evaluation_files.keys() == {"evaluation.json", "predictions.parquet"}


def test_a_registry_with_claims_and_a_repaired_pointer(tmp_path):
    shutil.copytree(SAMPLES / "promoted", tmp_path / "registry")
    registry = Registry(str(tmp_path / "registry"))
    assert registry.verify() == [] and registry.gc().remove == {}
    champion = registry.require_champion()
    assert (champion.version, [one["event"] for one in champion.log]) == (2, ["promoted", "promoted", "repaired"])
    candidate = [tmp_path / "registry" / "versions" / "2" / part for part in ("bundle", "evaluation", "decision")]
    before = registry.store.list()
    assert registry.promote(*candidate) == 2  # the claim says that it has happened
    after = registry.store.list()
    assert [entry for entry in after if entry.name != "registry.json"] == before  # which came later than these records


def test_uses_of_test_sets_by_their_texts(tmp_path):
    shutil.copytree(SAMPLES / "lineages", tmp_path / "registry")
    registry = Registry(str(tmp_path / "registry"))
    assert registry.verify() == []
    rows = [f"{number:016x}" for number in range(41)]
    use, mask = registry.count_use(some_test_set([*rows, "fresh"], "grown"), 0.05, {"candidate": "model d"})
    assert (use.number, use.lineage, use.rows, use.fresh, use.left_out) == (3, 1, 42, 1, 0) and mask.all()
    others = [f"{number:016x}" for number in range(100, 160)]
    use, _ = registry.count_use(some_test_set(others, "others"), 0.05, {"candidate": "model d"})
    assert (use.number, use.lineage, use.fresh) == (2, 2, 0)
