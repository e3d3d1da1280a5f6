"""The component that ends what a run leaves."""

from typing import Dict, NamedTuple

from kfp.dsl import PipelineTaskFinalStatus

from kfp_bert_components.components._images import slim_component


@slim_component
def clean_up_run(
    status: PipelineTaskFinalStatus,
    run_id: str = "",
    run_name: str = "",
    registry: str = "",
    deployment_target: str = "production",
    job_project: str = "",
    job_location: str = "",
    job_api_endpoint: str = "",
    settings: Dict = {},
    webhook: str = "",
) -> NamedTuple("Outputs", [("outcome", str)]):
    """If a run failed or was terminated, cancel its jobs that are not over. For a dsl.ExitHandler.

    KFP runs this step when all other steps are over, even if the run was terminated or a pod died. It cancels the run's
    jobs on AI Platform and its TrainJobs. It does not cancel a job that another run also waits for. It also leaves a
    job if it can't read which runs wait for it, for example because the volume of job_staging is not mounted, and it
    leaves all TrainJobs if it has no right to list them. These jobs end when no step has waited for them for
    job_abandoned_minutes. If a rollout stopped between two of its stages, it is left as it is, and the next run
    continues it. If the run ended well, this step cancels nothing and says so.

    If there is a webhook, this step posts a message to it: how the run ended, the decision and its reason, alarms, a
    failed rollout, and the addresses of the pages. The form is {"text": ...}, which Slack, Mattermost and Google Chat
    accept. The message contains no text of the data. A webhook that fails, or does not answer within 10 seconds,
    changes nothing.

    Args:
        status: How the run ended; filled in by KFP.
        run_id: Id of the run: dsl.PIPELINE_JOB_ID_PLACEHOLDER.
        run_name: Name of the run: dsl.PIPELINE_JOB_NAME_PLACEHOLDER.
        registry: gs:// or s3:// URI, or folder, of the registry, to report a rollout that is under way. Default: none.
        deployment_target: Name of the deployment record in it. Default: production.
        job_project: Id of the project that the run's jobs run in. Default: no jobs are looked for.
        job_location: Region that these jobs run in, such as europe-west4.
        job_api_endpoint: Another address of the API. http:// is allowed only on this machine, for tests.
        settings: The further parameters of finetune_bert or batch_predict. Their values of job_project, job_location
            and job_api_endpoint win over the parameters above. Default: none.
        webhook: Address of the webhook. Anyone who knows the address can post to it, and the run's page shows
            parameters. So better leave this parameter out, and set the step's variable KFP_BERT_WEBHOOK from a secret.
            Default: the value of this variable.

    Returns:
        outcome: How the run ended, what was cancelled, and whether people were told.
    """
    from collections import namedtuple

    from kfp_bert_components.components._task import task_address
    from kfp_bert_components.origin import here
    from kfp_bert_components.steps.clean_up_run import clean_up_run

    known = {"job_project": job_project, "job_location": job_location, "job_api_endpoint": job_api_endpoint}
    job = {name.removeprefix("job_"): settings.get(name) or value for name, value in known.items()}
    if settings.get("run_on") == "kubeflow":
        job["namespace"] = settings.get("job_namespace") or here().namespace
    outcome = clean_up_run(
        status.state,
        status.error_message or "",
        [run_id, run_name],
        registry=registry,
        deployment_target=deployment_target,
        webhook=webhook,
        origin=here(task_address(), run_id, run_name),
        **job,
    )
    return namedtuple("Outputs", ["outcome"])(outcome)
