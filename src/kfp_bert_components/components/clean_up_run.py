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
    """Cancel what a run started and is not over, when the run failed or was terminated. For a dsl.ExitHandler.

    KFP runs this step when all others are over, also where the run was terminated or a pod died. It cancels the run's
    jobs on AI Platform and its TrainJobs, but for those that another run waits for, too, and those of which it can't
    read that, as where the volume of job_staging is not mounted: they end when nobody has waited for
    job_abandoned_minutes. So do TrainJobs without the right to list them. A rollout that stands between two steps is
    left as it is: the next run goes on with it. Where the run ended well, it cancels nothing and says so.

    Where there is a webhook, it posts how the run ended, decision and reason, alarms and a failed rollout, with the
    addresses of the pages: {"text": ...}, as Slack, Mattermost and Google Chat take it. No text of the data is in it. A
    webhook that fails, or has not answered after 10 seconds, changes nothing.

    Args:
        status: How the run ended; filled in by KFP.
        run_id: Id of the run: dsl.PIPELINE_JOB_ID_PLACEHOLDER.
        run_name: Name of the run: dsl.PIPELINE_JOB_NAME_PLACEHOLDER.
        registry: gs:// or s3:// URI, or folder, of the registry, to report a rollout that is under way. Default: none.
        deployment_target: Name of the deployment record in it. Default: production.
        job_project: Id of the project that the run's jobs run in. Default: no jobs are looked for.
        job_location: Region that they run in, such as europe-west4.
        job_api_endpoint: Another address of the API; http:// only on this machine, for tests.
        settings: The further parameters of finetune_bert or batch_predict, of which those that begin with job_ and are
            named above win over them. Default: none.
        webhook: Address of the webhook. Who knows it can write there, and a parameter is seen on the run's page:
            better leave it out, and give the step the variable KFP_BERT_WEBHOOK from a secret. Default: that variable.

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
