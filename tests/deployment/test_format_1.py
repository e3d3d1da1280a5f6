"""The records of format 1, as released, are read; what is damaged or of a newer format is refused by name."""

import json
import shutil
from pathlib import Path

import pytest

from kfp_bert_components.deployment import open_versioned_folder
from kfp_bert_components.errors import UserError
from kfp_bert_components.jobs.records import read_result, read_settings, write_result, write_settings
from kfp_bert_components.storage import open_store
from kfp_bert_components.training import TrainingSettings

SAMPLES = Path(__file__).with_name("format_1")


def test_the_settings_of_a_job_are_read():
    settings = TrainingSettings(**read_settings(open_store(str(SAMPLES / "job"))))
    assert settings.epochs == 2
    assert settings.base_model == "gs://bucket/staging/kfp-bert-jobs/0123/base_model"
    assert settings.checkpoint_dir == "gs://bucket/staging/kfp-bert-jobs/0123/checkpoints"


def test_the_result_of_a_job_is_read():
    found = read_result(open_store(str(SAMPLES / "job")))
    assert found == {"validation_loss": 0.25, "validation_macro_f1": 0.875, "steps": 120.0}


def test_the_registry_version_in_a_serving_directory_is_read():
    folder = open_versioned_folder(str(SAMPLES / "serving"))
    assert folder.registry_version(7) == 3
    assert folder.registry_version(8) is None


@pytest.mark.parametrize(
    ("sample", "read"),
    [
        ("job/job.json", lambda root: read_settings(open_store(f"{root}/job"))),
        ("job/output/result.json", lambda root: read_result(open_store(f"{root}/job"))),
        (
            "serving/7/assets.extra/bundle.json",
            lambda root: open_versioned_folder(f"{root}/serving").registry_version(7),
        ),
    ],
)
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[:20], "is no JSON object"),
        (lambda text: json.dumps({**json.loads(text), "format": 99}), "has format 99, and this version reads 1"),
    ],
)
def test_a_damaged_or_newer_record_is_refused_by_its_name(tmp_path, sample, read, damage, says):
    shutil.copytree(SAMPLES, tmp_path, dirs_exist_ok=True)
    path = tmp_path / sample
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=f"{path.name}.* {says}"):
        read(tmp_path)


def test_what_is_written_has_the_fields_of_format_1(tmp_path):
    store = open_store(str(tmp_path))
    write_settings(store, {"epochs": 2})
    write_result(store, {"steps": 3.0})
    assert json.loads((tmp_path / "job.json").read_text()) == {"format": 1, "settings": {"epochs": 2}}
    assert json.loads((tmp_path / "output" / "result.json").read_text()) == {"format": 1, "metrics": {"steps": 3.0}}
