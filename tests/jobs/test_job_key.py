"""Jobs have the same key where they have the same outputs, and only there."""

import pytest

from kfp_bert_components.jobs.staging import job_key, pinned_base_model, place_of
from kfp_bert_components.storage import open_store
from kfp_bert_components.training import TrainingSettings
from tests.support.splits import write_small_splits
from tests.support.stores import gcs

__all__ = ["gcs"]
IMAGE, MACHINES = "registry/image:1", [{"machine": "n1", "count": 1}]
CONFIG = b'{"model_type": "bert"}'


@pytest.fixture
def splits(tmp_path):
    write_small_splits(tmp_path)
    return tmp_path / "train", tmp_path / "validation"


def key(splits, image=IMAGE, machines=MACHINES, **settings):
    return job_key(*splits, pinned_base_model(TrainingSettings(**settings)), image, machines)


@pytest.mark.parametrize(
    "changed",
    [
        {"image": "registry/image:2"},
        {"machines": [{"machine": "n1", "count": 2}]},
        {"epochs": 7},
        {"seed": 1},
        {"max_length": 64},
        {"export_precision": "int8"},
        {"label_check_rows": 100},
        {"keep_texts": "ids"},
    ],
    ids=str,
)
def test_what_changes_the_outputs_changes_the_key(splits, changed):
    assert key(splits, **changed) != key(splits)


@pytest.mark.parametrize("place", ["checkpoint_dir", "tensorboard_dir"])
def test_where_a_job_writes_on_its_way_does_not(splits, place):
    assert key(splits, **{place: "gs://bucket/folder"}) == key(splits)


@pytest.mark.parametrize("part", [0, 1])
def test_other_data_is_another_job(splits, tmp_path, part):
    before = key(splits)
    other = splits[part] / "split.json"
    fingerprint = other.read_text().split('"fingerprint": "')[1][:4]
    other.write_text(other.read_text().replace(fingerprint, fingerprint[::-1]))
    assert key(splits) != before
    assert key(splits[::-1]) != key(splits)


def test_a_base_model_on_a_disk_is_its_files(splits, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_bytes(CONFIG)
    before = key(splits, base_model=str(tmp_path / "one"))
    (tmp_path / "one" / "vocab.txt").write_text("a")
    assert key(splits, base_model=str(tmp_path / "one")) != before
    (tmp_path / "one" / "vocab.txt").write_text("b")
    assert key(splits, base_model=str(tmp_path / "one")) != before


def test_a_base_model_in_a_bucket_is_what_it_was_pinned_as(gcs, splits):
    store = open_store("gs://bucket/base")
    store.write("config.json", CONFIG)
    before = key(splits, base_model="gs://bucket/base")
    assert key(splits, base_model="gs://bucket/base") == before
    store.write("config.json", CONFIG + b" ")
    assert key(splits, base_model="gs://bucket/base") != before


def test_the_folder_of_a_job_is_named_by_its_key():
    assert place_of("gs://bucket/staging/", "key") == "gs://bucket/staging/kfp-bert-jobs/key"
