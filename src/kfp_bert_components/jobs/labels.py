"""The labels of jobs, by which they are found: on AI Platform and on the cluster."""

# A hash of all that the job's outputs depend on.
JOB_LABEL = "kfp-bert-job"
# The run of a pipeline that started a job, made a version, or deployed to an endpoint last.
RUN_LABEL = "kfp-bert-run"
