"""The labels of jobs, by which they are found: on AI Platform and on the cluster."""

from collections.abc import Mapping

from kfp_bert_components.deployment.labels import slug

# A hash of all that the job's outputs depend on.
JOB_LABEL = "kfp-bert-job"
# The run of a pipeline that started a job, made a version, or deployed to an endpoint last.
RUN_LABEL = "kfp-bert-run"


def job_labels(labels: Mapping[str, str], key: str, run: str) -> dict[str, str]:
    """All labels of a job: those that were asked for, and ours."""
    return {**labels, JOB_LABEL: key, **run_label(run)}


def run_label(run: str) -> dict[str, str]:
    """The label of a run by its name (`Origin.label`), {} where there is none. A value has up to 63 characters."""
    return {RUN_LABEL: slug(run, 63)} if run else {}


def run_labels(run: str) -> set[str]:
    """All values of that label by which something of a run may be found: those of older jobs have up to 40."""
    return {slug(run, 63), slug(run)}
