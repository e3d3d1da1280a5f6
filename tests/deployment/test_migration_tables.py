"""The tables for those who come from the old components name parameters that there are."""

import inspect
import re
from pathlib import Path

import pytest

from kfp_bert_components import finetune_bert
from kfp_bert_components.components.deploy_to_ai_platform import deploy_to_ai_platform

PAGE = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text()
# Of kubeflow/pipelines, components/gcp/ml_engine/{deploy,train}/component.yaml: inputs, then outputs.
OLD = {
    "deploy": {
        "model_uri",
        "project_id",
        "model_id",
        "version_id",
        "runtime_version",
        "python_version",
        "model",
        "version",
        "replace_existing_version",
        "set_default",
        "wait_interval",
        "model_name",
        "version_name",
    },
    "train": {
        "project_id",
        "python_module",
        "package_uris",
        "region",
        "args",
        "job_dir",
        "python_version",
        "runtime_version",
        "master_image_uri",
        "worker_image_uri",
        "training_input",
        "job_id_prefix",
        "wait_interval",
        "job_id",
    },
}


def rows(old):
    """The cells of one table, without its head."""
    table = PAGE.split(f"| `ml_engine/{old}` |")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in table]


def names(cell):
    return set(re.findall(r"`([a-z_]+)`", cell))


@pytest.mark.parametrize(("old", "component"), [("deploy", deploy_to_ai_platform), ("train", finetune_bert)])
def test_every_old_parameter_has_a_row_and_what_it_names_exists(old, component):
    known = set(inspect.signature(component.python_func).parameters)
    known |= set(component.component_spec.outputs)
    table = rows(old)
    assert OLD[old] == set().union(*(names(before) for before, _ in table))
    for before, now in table:
        assert names(now) - {"champion"} <= known, before
