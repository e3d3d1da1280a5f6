"""Training on several nodes of the cluster: a TrainJob of Kubeflow Trainer.

`run_as_train_job` (job.py) starts a job and follows it. client.py makes, finds and ends it; objects.py has what is
written; runtime.py looks for the TrainingRuntime, and pods.py reads log and troubles of its pods. worker.py is what its
pods run.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfp_bert_components.trainjob.job import run_as_train_job
    from kfp_bert_components.trainjob.settings import TrainJobSettings

__all__ = ["TrainJobSettings", "run_as_train_job"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    home = {"TrainJobSettings": "settings", "run_as_train_job": "job"}
    if name not in home:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home[name]}"), name)
