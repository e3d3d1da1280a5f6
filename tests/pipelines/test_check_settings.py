"""What later steps would refuse is refused by the first one, in seconds."""

import pytest

import kfp_bert_components as package
from kfp_bert_components.errors import UserError
from kfp_bert_components.steps.check_settings import check_settings, settings_of_preparing, settings_of_training
from tests.support.kubeflow_steps import Steps
from tests.support.stores import gcs

__all__ = ["gcs"]


def parameters(name):
    inputs = getattr(package, name).component_spec.inputs
    return {one for one, spec in inputs.items() if not spec.type.startswith("system.")} - {"settings", "base_model_pin"}


def test_every_further_setting_is_known():
    assert settings_of_preparing().keys() == parameters("prepare_text_data")
    assert settings_of_training().keys() == parameters("finetune_bert")


def test_what_the_steps_take_is_taken(tmp_path):
    (tmp_path / "policy.yaml").write_text("min_rows: 20")
    prepare = {
        "delimiter": ";",
        "split_by": "group",
        "label_names": {"0": 1},
        "test_values": ["a", 2],
        "leak_words": 3.0,
    }
    training = {"run_on": "ai_platform", "job_replicas": 2.0, "job_labels": {"a": "b"}, "width": 10, "registry": "r"}
    for policy in ("", "alpha: 0.01", str(tmp_path / "policy.yaml")):
        check_settings(prepare, training, {"alpha": 0.1, "primary_metric": "f1:ham", "min_improvement": 0.01}, policy)
    check_settings({}, {}, {})


@pytest.mark.parametrize(
    ("prepare", "training", "gate", "policy", "says"),
    [
        ({"delimeter": ";"}, {}, {}, "", "prepare_text_data would refuse its settings: .*did you mean 'delimiter'"),
        ({"max_dropped": 2}, {}, {}, "", "prepare_text_data would .*: max_dropped is 2, but it should be less"),
        ({"split_by": "line"}, {}, {}, "", "split_by is 'line', but it must be one of 'text', 'column'"),
        ({}, {"pacience": 3}, {}, "", "finetune_bert would refuse its settings: .*did you mean 'patience'"),
        ({}, {"epsilon": 0.1}, {}, "", "'epsilon', which is no parameter of this step"),
        ({}, {"run_on": "moon"}, {}, "", "run_on is 'moon', but it must be one of 'pod', 'ai_platform'"),
        ({}, {"job_replicas": 0}, {}, "", "job_replicas is 0, but it should be greater"),
        ({}, {"batch_size": "many"}, {}, "", "batch_size is 'many', but it should be a valid integer"),
        ({}, {}, {"primary_metric": "macro-f1"}, "", "compare_models would .*: There is no metric 'macro-f1'"),
        ({}, {}, {"alpha": 5.0}, "", "alpha is 5.0, but it should be less than 0.5"),
        ({}, {}, {}, "alfa: 0.01", "compare_models would .*: policy: There is no rule 'alfa'; did you mean 'alpha'"),
        ({}, {}, {}, "gs://bucket/none/policy.yaml", "The policy file gs://bucket/none/policy.yaml does not exist"),
        (
            {},
            {},
            {"min_improvement": 0.1},
            "margin: 0.1",
            "margin allows the candidate to be worse and min_improvement",
        ),
    ],
)
def test_what_a_step_would_refuse_is_named(gcs, prepare, training, gate, policy, says):
    with pytest.raises(UserError, match=says):
        check_settings(prepare, training, gate, policy)


def test_a_column_that_counts_the_evidence_must_be_one_that_the_splits_keep():
    for column in ("text", "row", "source", "film"):
        check_settings({"metadata_columns": ["film"]}, {}, {}, evidence_by=column)
    with pytest.raises(
        UserError, match="evaluate_model would .*: evidence_by names the column .film.*metadata_columns"
    ):
        check_settings({"metadata_columns": ["year"]}, {}, {}, evidence_by="film")


@pytest.mark.parametrize("name", ["train_and_deploy", "train_and_deploy_to_ai_platform"])
def test_the_ready_pipelines_give_the_first_step_what_it_checks(name):
    from kfp_bert_components import pipelines

    tasks = getattr(pipelines, name).pipeline_spec.components["comp-exit-handler-1"].dag.tasks
    given = {one: source.component_input_parameter for one, source in tasks["pin-data"].inputs.parameters.items()}
    for parameter, step, theirs in [
        ("prepare", "prepare-text-data", "settings"),
        ("settings", "finetune-bert", "settings"),
        ("evidence_by", "evaluate-model", "evidence_by"),
        *((one, "compare-models", one) for one in ("primary_metric", "min_improvement", "alpha", "policy")),
    ]:
        assert given[parameter] == tasks[step].inputs.parameters[theirs].component_input_parameter


def test_on_a_cluster_the_first_step_ends_with_the_sentence_before_it_looks_at_the_data(tmp_path):
    steps = Steps(tmp_path)
    registry = str(tmp_path / "registry")
    done = steps.run("pin_data", sources=[str(tmp_path / "none.csv")], registry=registry, policy="alfa: 0.01")
    assert done.returncode == 1
    assert "compare_models would refuse its settings: policy: There is no rule 'alfa'" in done.stdout
    assert "Traceback" not in done.stdout and not (tmp_path / "registry").exists()
