"""An error of this package ends a step of any component with its sentence alone; what is not ours has its frames."""

import textwrap

import pytest

import kfp_bert_components as package
from tests.support.kubeflow_steps import Steps

# Of each component: parameters that it refuses, or that lead to something that is not there; and what it says then.
BAD = {
    "pin_data": ({"sources": ["/no/such/folder"], "registry": "/no/registry"}, "/no/such/folder"),
    "fetch_gcs_data": ({"sources": ["/no/such/folder"]}, "/no/such/folder"),
    "prepare_text_data": ({"reference": "", "test_fraction": 2.0}, "test_fraction is 2.0"),
    "finetune_bert": ({"epochs": -1}, "epochs is -1"),
    "evaluate_model": ({"keep_texts": "some"}, "keep_texts is 'some'"),
    "evaluate_champion": ({"registry": "/no/registry"}, "holds no split (split.json is missing)"),
    "compare_models": ({"registry": "", "primary_metric": "speed"}, "speed"),
    "wait_for_approval": ({"registry": "/no/registry", "hours": 0.0}, "hours is 0: expected more than 0"),
    "promote_model": ({"registry": "/no/registry"}, "decision.json is missing"),
    "rollback_model": ({"registry": "/no/registry"}, "is no registry"),
    "deploy_to_ai_platform": ({"registry": "/no/registry", "project": "p", "location": "l", "min_replicas": 0}, "min_"),
    "deploy_to_serving_directory": ({"registry": "/no/registry", "serving_directory": "/no/serving"}, "is no registry"),
    "deploy_to_kserve": ({"registry": "/no/registry", "name": "9", "namespace": "n"}, "with a letter first"),
    "batch_predict": ({"table": ""}, "Give table or data, one of the two."),
    "clean_up_run": ({"status": {"state": "FAILED"}, "job_project": "p"}, "a project and a location"),
}


def said(printed: str) -> str:
    """What a step says after the executor's own lines, which end with its input as JSON."""
    return printed.rpartition("\n}\n")[2]


@pytest.mark.parametrize("name", package.COMPONENTS)
def test_an_error_of_ours_is_the_sentence_alone(name, tmp_path):
    parameters, words = BAD[name]
    done = Steps(tmp_path).run(name, **parameters)
    assert done.returncode == 1
    lines = said(done.stdout).splitlines()
    assert "Traceback" not in done.stdout and words in " ".join(lines)
    assert all(len(line) <= 100 or " " not in line for line in lines)


def test_frames_are_shown_where_they_are_asked_for(tmp_path):
    done = Steps(tmp_path, KFP_BERT_TRACEBACK="1").run("fetch_gcs_data", sources=["/no/such/folder"])
    assert done.returncode == 1 and 'fetch/fetching.py", line ' in done.stdout
    assert done.stdout.splitlines()[-1].startswith("kfp_bert_components.errors.")


def test_an_error_that_is_not_ours_has_its_frames(tmp_path):
    done = Steps(tmp_path).run("batch_predict", settings=3, table="/no/table", model_uri="/no/model")
    assert done.returncode == 1
    assert "Traceback (most recent call last):" in done.stdout and done.stdout.splitlines()[-1].startswith("TypeError")


def test_a_long_sentence_is_wrapped_and_its_words_stay_whole(tmp_path):
    folder = tmp_path / "folder-with-a-name" / "-".join(["long"] * 30)
    done = Steps(tmp_path).run("fetch_gcs_data", sources=[str(folder)])
    lines = said(done.stdout).splitlines()
    assert len(lines) > 1 and str(folder) in lines
    assert textwrap.fill(" ".join(lines), 100, break_long_words=False, break_on_hyphens=False).splitlines() == lines
