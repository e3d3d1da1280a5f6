"""AI Platform (Vertex AI): training as a custom job, prediction as a batch job, and deployment to an endpoint.

Four ways lead in, and all call the API through client.py; the first three take their settings from settings.py:

* `run_as_custom_job` (job.py) starts a job, in which job_worker.py trains, and prints its log (job_log.py).
* `predictor_of_job` (batch_job.py) answers the texts of a table by a batch prediction job. remote_jobs.py starts and
  finds the jobs of both kinds, which `jobs` follows; running_jobs.py knows which of them run.
* `deploy_to_ai_platform` (deploy.py) rolls out to the target in target.py, which uses endpoint.py and models.py.
* `Pipelines` (pipelines.py) starts runs of pipelines, and keeps schedules of them.
"""

from importlib import import_module

from kfp_bert_components.extras import named_extra

_HOME = {
    "AiPlatformClient": "client",
    "AiPlatformSettings": "settings",
    "AiPlatformTarget": "target",
    "BatchJobSettings": "settings",
    "DeployedModel": "deploy",
    "JobSettings": "settings",
    "Pipelines": "pipelines",
    "deploy_to_ai_platform": "deploy",
    "predictor_of_job": "batch_job",
    "run_as_custom_job": "job",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with named_extra():
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
