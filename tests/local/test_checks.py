"""Settings that a step would refuse are refused before the first step runs, as far as they are known then."""

import pytest
import yaml
from kfp import compiler, dsl

from kfp_bert_components import compare_models, finetune_bert, prepare_text_data
from kfp_bert_components.errors import UserError
from kfp_bert_components.local.checks import check_pipeline, check_settings
from kfp_bert_components.local.pipelines import compile_pipeline
from kfp_bert_components.pipelines import train_and_deploy, train_and_deploy_to_ai_platform, train_and_deploy_to_kserve


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def ask() -> str:
    """Say something."""
    return "text"


def importer():
    return dsl.importer(artifact_uri="gs://b/data", artifact_class=dsl.Artifact).output


def compiled(pipeline, folder):
    compiler.Compiler().compile(pipeline, str(folder / "pipeline.yaml"))
    return yaml.safe_load((folder / "pipeline.yaml").read_text())


@pytest.mark.parametrize("pipeline", [train_and_deploy, train_and_deploy_to_ai_platform, train_and_deploy_to_kserve])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"alpha": 5.0}, "Step compare-models: alpha is 5.0, but it should be less than 0.5"),
        ({"primary_metric": "foo"}, "Step compare-models: There is no metric 'foo'"),
        ({"policy": "min_rows: 0"}, "Step compare-models: policy: min_rows is 0"),
        ({"min_improvement": 0.1, "policy": "margin: 0.1"}, "policy: margin allows the candidate to be worse"),
        ({"prepare": {"delimeter": ";"}}, "Step prepare-text-data: .* did you mean 'delimiter'"),
        ({"split_by": "group"}, "Step prepare-text-data: split_by is 'group': name the column in split_column"),
        ({"training": {"pacience": 3}}, "Step finetune-bert: .* did you mean 'patience'"),
        ({"training": {"run_on": "moon"}}, "Step finetune-bert: run_on must be pod, ai_platform or kubeflow"),
        ({"epochs": -1}, "Step finetune-bert: epochs is -1"),
        ({"keep_texts": "some"}, "keep_texts is 'some'"),
    ],
)
def test_a_ready_pipeline_refuses_what_its_steps_would(tmp_path, pipeline, arguments, says):
    spec = compiled(pipeline, tmp_path)
    needed = {"sources": ["gs://b/a.csv"], "registry": "gs://b/registry", "project": "p", "location": "l"}
    needed |= {"name": "bert", "namespace": "n"}
    check_pipeline(spec, needed)
    check_pipeline(
        spec, needed | {"prepare": {"delimiter": ";"}, "training": {"patience": 3.0}, "policy": "alpha: 0.01"}
    )
    with pytest.raises(UserError, match=says):
        check_pipeline(spec, needed | arguments)


def test_constants_are_checked_without_a_run_also_in_a_pipeline_inside_another(tmp_path):
    @dsl.pipeline
    def inner(epochs: int):
        finetune_bert(train=importer(), validation=importer(), epochs=epochs)

    @dsl.pipeline
    def outer():
        inner(epochs=-3)

    with pytest.raises(UserError, match="Step finetune-bert: epochs is -3"):
        check_settings(compiled(outer, tmp_path), {})


def test_a_policy_file_is_read_before_a_run_here_and_not_when_compiling_for_elsewhere(tmp_path):
    policy = tmp_path / "policy.yaml"

    @dsl.pipeline
    def pipeline():
        compare_models(candidate=importer(), champion=importer(), policy=str(policy))

    spec = compiled(pipeline, tmp_path)
    check_settings(spec, {})
    with pytest.raises(UserError, match=r"policy\.yaml does not exist"):
        check_pipeline(spec, {})
    policy.write_text("alfa: 0.01")
    with pytest.raises(UserError, match=r"Step compare-models: .*policy\.yaml: There is no rule 'alfa'"):
        check_pipeline(spec, {})
    policy.write_text("alpha: 0.01")
    check_pipeline(spec, {})


def test_what_is_not_known_yet_is_left_to_the_step(tmp_path):
    @dsl.pipeline
    def pipeline(column: str, by: str = "", split: str = "group"):
        said = ask()
        prepare_text_data(data=importer(), delimiter=";;", header="maybe", text_column=said.output)
        prepare_text_data(data=importer(), split_by="nothing", text_column=f"{said.output} x")
        compare_models(candidate=importer(), champion=importer(), alpha=7.0, primary_metric=said.output)
        finetune_bert(train=importer(), validation=importer(), epochs=-1, base_model=column)
        with dsl.If(by != ""):
            prepare_text_data(data=importer(), split_by="group", split_column=by)

    spec = compiled(pipeline, tmp_path)
    check_settings(spec, {})
    with pytest.raises(UserError, match="epochs is -1"):
        check_settings(spec, {"column": "", "by": ""})


def test_a_function_of_the_same_name_is_not_this_packages(tmp_path):
    @dsl.component(base_image="python:3.11", install_kfp_package=False)
    def finetune_bert(epochs: int = -1):
        """Another one."""

    check_settings(compiled(finetune_bert, tmp_path), {"epochs": -1})


def test_a_value_that_kfp_would_take_for_a_placeholder_is_refused(tmp_path):
    spec = compiled(train_and_deploy, tmp_path)
    needed = {"registry": "r", "serving_directory": "s"}
    with pytest.raises(UserError, match=r"Parameter 'sources' holds '\{\{\$', .* rename the file"):
        check_pipeline(spec, needed | {"sources": ["lines.csv", "/data/{{$.x}}.csv"]})
    check_pipeline(spec, needed | {"sources": ["{{x}}.csv", "{{$.pipeline_job_name}}.csv"]})


def test_compiling_for_a_cluster_checks_constants(tmp_path):
    from click.testing import CliRunner

    from kfp_bert_components.cli.compile import command

    path = tmp_path / "mine.py"
    path.write_text(
        "from kfp import dsl\nfrom kfp_bert_components import compare_models\n"
        "@dsl.pipeline\ndef pipeline():\n"
        "    one = dsl.importer(artifact_uri='gs://b/a', artifact_class=dsl.Artifact).output\n"
        "    compare_models(candidate=one, champion=one, alpha=5.0)\n"
    )
    done = CliRunner().invoke(command, [f"{path}:pipeline", str(tmp_path / "a.yaml")])
    assert str(done.exception) == "Step compare-models: alpha is 5.0, but it should be less than 0.5."
    assert not (tmp_path / "a.yaml").exists()
    path.write_text(path.read_text().replace("5.0", "0.1"))
    assert compile_pipeline(f"{path}:pipeline", tmp_path / "b.yaml")
