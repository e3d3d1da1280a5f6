"""Fine-tune where it is asked for: in this pod, in a custom job of AI Platform, or on several nodes of the cluster."""

import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from kfp_bert_components.bert.source import check_pin, checkpoint_address
from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import checkpoints_beside
from kfp_bert_components.storage import is_folder, parse_address
from kfp_bert_components.training import TrainingSettings, finetune

# Of the component, for a parameter that only one kind of job has.
_DEFAULTS = {"machine_type": "n1-standard-8"}


def finetune_bert(
    train: Path,
    validation: Path,
    model: Path,
    report: Path,
    settings: TrainingSettings,
    run_on: str = "pod",
    base_model_pin: str = "",
    registry: str = "",
    **job_settings: Any,
) -> dict[str, float]:
    """Fine-tune BERT and write the model bundle and the report; see `training.finetune`.

    Args:
        train: Split to train on.
        validation: Split that says which weights are best.
        model: Folder for the model bundle.
        report: HTML page to write.
        settings: How to train.
        run_on: "pod", or "ai_platform" for a custom job, "kubeflow" for a TrainJob, that this process starts and
            follows.
        base_model_pin: What `pin_data` saw of the base model; "" where it is not pinned.
        registry: Model registry beside which checkpoints are kept, where `settings` has no `checkpoint_dir`. A job
            keeps them in its staging folder.
        **job_settings: Attributes of `ai_platform.JobSettings` for a custom job, of `trainjob.TrainJobSettings` for a
            TrainJob. Those of the other kind must be left as they are by default.

    Returns:
        The metrics of the kept weights, as `finetune` returns them.

    Raises:
        ConflictError: The base model is another one than that which was pinned.
        UserError: `run_on` is none of these, or a setting, an address or a split is at fault.
    """
    check_run_on(run_on)
    if registry and not settings.checkpoint_dir and run_on == "pod":
        settings = replace(settings, checkpoint_dir=checkpoints_beside(registry))
    settings = _with_absolute_paths(settings)
    check_pin(settings.base_model, base_model_pin)  # before a machine is started
    settings = replace(settings, base_model_pin=base_model_pin)
    if run_on == "pod":
        return finetune(train, validation, model, report, settings)
    _check_local(settings.base_model, train)
    paths = train, validation, model, report
    if run_on == "kubeflow":
        from kfp_bert_components.trainjob import TrainJobSettings, run_as_train_job

        return run_as_train_job(*paths, settings, TrainJobSettings(**_only(TrainJobSettings, run_on, job_settings)))
    from kfp_bert_components.ai_platform.job import JobSettings, run_as_custom_job

    return run_as_custom_job(*paths, settings, JobSettings(**_only(JobSettings, run_on, job_settings)))


def check_run_on(run_on: str) -> None:
    """Raise a UserError where training is to run on something that is not known."""
    if run_on not in ("pod", "ai_platform", "kubeflow"):
        raise UserError(f"run_on must be pod, ai_platform or kubeflow, not {run_on!r}.")


def _only(kind: Any, run_on: str, job_settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that a kind of job has; UserError where another one was given a value."""
    names = {one.name for one in fields(kind)}
    for name, value in job_settings.items():
        if name not in names and value and value != _DEFAULTS.get(name):
            raise UserError(f"job_{name} is {value!r}, which a job with run_on={run_on} does not have: leave it out.")
    return {name: value for name, value in job_settings.items() if name in names}


def _check_local(base_model: str, train: Path) -> None:
    """Check a base model in a local folder before it is copied and a machine is started; a job checks all others."""
    from kfp_bert_components.bert.checkpoint import read_checkpoint
    from kfp_bert_components.bert.source import checkpoint_folder
    from kfp_bert_components.data.splits import read_split

    if base_model and is_folder(Path(base_model)):
        with tempfile.TemporaryDirectory() as scratch:
            read_checkpoint(checkpoint_folder(base_model, Path(scratch)), read_split(train).labels)


def _with_absolute_paths(settings: TrainingSettings) -> TrainingSettings:
    """The settings with their addresses checked, before hours of work, and local ones made absolute."""
    if settings.checkpoint_dir:
        settings = replace(settings, checkpoint_dir=_absolute(settings.checkpoint_dir, "checkpoint_dir"))
    if settings.tensorboard_dir:
        settings = replace(settings, tensorboard_dir=_absolute(settings.tensorboard_dir, "tensorboard_dir"))
    base = checkpoint_address(settings.base_model) if settings.base_model else None
    return replace(settings, base_model=str(base)) if base and base.is_local else settings


def _absolute(text: str, parameter: str) -> str:
    address = parse_address(text, parameter)
    return str(address) if address.is_local else text
