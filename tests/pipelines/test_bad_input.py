"""A user's mistake ends the run with one sentence that names the cause, and exit code 1."""

import subprocess
import sys

import pytest

from tests.support.pipeline_runs import small_data

PIPELINE = "kfp_bert_components.pipelines:train_and_deploy"


def run(folder, **params):
    params = {"registry": folder / "registry", "serving_directory": folder / "serving", **params}
    words = [word for name, value in params.items() for word in ("--param", f"{name}={value}")]
    return subprocess.run(
        [sys.executable, "-m", "kfp_bert_components.cli", "run", PIPELINE, *words, "--root", str(folder / "runs")],
        capture_output=True,
        text=True,
        timeout=300,
    )


def missing_file(folder):
    return {"sources": folder / "missing.csv"}, "missing.csv"


def missing_column(folder):
    return {"sources": small_data(folder), "text_column": "sentence"}, "'sentence'"


def one_label(folder):
    path = folder / "one.csv"
    path.write_text("text,label\n" + "".join(f"line {i},dialogue\n" for i in range(50)))
    return {"sources": path}, "dialogue"


def empty_file(folder):
    path = folder / "empty.csv"
    path.write_bytes(b"")
    return {"sources": path}, "empty.csv"


def binary_file(folder):
    path = folder / "picture.csv"
    path.write_bytes(bytes(range(256)) * 40)
    return {"sources": path}, "picture.csv"


def missing_checkpoint(folder):
    return {"sources": small_data(folder), "base_model": folder / "no-such-bert"}, "no-such-bert"


def unknown_metric(folder):
    return {
        "sources": folder / "never-read.csv",
        "primary_metric": "niceness",
    }, "Step compare-models: There is no metric"


def policy_out_of_range(folder):
    return {"sources": folder / "never-read.csv", "policy": "margin: 1"}, "Step compare-models: policy: margin is 1"


def alpha_out_of_range(folder):
    return {"sources": folder / "never-read.csv", "alpha": 5}, "alpha is 5.0, but it should be less than 0.5"


def misspelt_setting(folder):
    return {"sources": folder / "never-read.csv", "prepare": '{"delimeter": ";"}'}, "did you mean 'delimiter'?"


def setting_out_of_range(folder):
    return {"sources": folder / "never-read.csv", "prepare": '{"max_dropped": 2}'}, "max_dropped is 2"


def misspelt_training_setting(folder):
    return {"sources": folder / "never-read.csv", "training": '{"pacience": 3}'}, "did you mean 'patience'?"


def training_setting_of_a_job(folder):
    return {"sources": folder / "never-read.csv", "training": '{"run_on": "the moon"}'}, "'the moon'"


CASES = [
    missing_file,
    one_label,
    policy_out_of_range,
    unknown_metric,
    misspelt_training_setting,
    setting_out_of_range,
]
MORE_CASES = [
    missing_column,
    empty_file,
    binary_file,
    alpha_out_of_range,
    training_setting_of_a_job,
    misspelt_setting,
    missing_checkpoint,
]


@pytest.mark.parametrize("case", CASES + [pytest.param(case, marks=pytest.mark.long) for case in MORE_CASES])
def test_a_users_mistake_ends_in_one_sentence_that_names_it(tmp_path, case):
    params, named = case(tmp_path)
    done = run(tmp_path, **params)
    assert done.returncode == 1
    sentence, *rest = done.stderr.strip().splitlines()
    assert sentence.startswith("error: ")
    assert named in sentence
    assert [line for line in rest if not line.startswith("The whole log:")] == []
    assert "Traceback" not in done.stdout + done.stderr
    print(sentence)
