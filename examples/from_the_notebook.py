r"""The pipeline of the notebook, made of this library's components: docs/from-the-notebook.md compares the two.

Train in the cluster or as a job of AI Platform, keep the model only if it is better, and deploy it to an endpoint.

Copy this file and change the lines below; the comment beside each line says what the notebook called it. On this
machine the pipeline runs with the addresses in the cloud:

    kfp-bert run from_the_notebook.py:train_pipeline

For a cluster, compile it with your images, and submit the file to Kubeflow Pipelines or to Vertex AI Pipelines:

    python from_the_notebook.py pipeline.yaml
    kfp-bert submit pipeline.yaml --host https://my-kubeflow/pipeline
    kfp-bert submit pipeline.yaml --project my-project --location europe-west4 --pipeline-root gs://my-bucket/runs
"""

import sys

from kfp import compiler, dsl

from kfp_bert_components import (
    __version__,
    clean_up_run,
    compare_models,
    deploy_to_ai_platform,
    evaluate_champion,
    evaluate_model,
    fetch_gcs_data,
    finetune_bert,
    pin_data,
    prepare_text_data,
    promote_model,
    use_images,
)

# Change these. The first eight are also parameters of the pipeline: a run can have other values.
PROJECT = "my-project"  # PROJECT_ID
LOCATION = "europe-west4"  # region; the notebook had it in the code
SOURCES = ["gs://my-bucket/rawdata/*.csv"]  # CSV_URI, or RAW_CSV_GCS_URI
TEST_FILES = ["231_*.csv"]  # files of the test set, which the notebook had in the code; all others are for training
REGISTRY = "gs://my-bucket/registry"  # in place of ACC_CSV_GCS_URI and MODEL_URI
RUN_ON = "pod"  # TRAIN_ON_CLOUD: "ai_platform" if it was True
MIN_IMPROVEMENT = 0.0  # MIN_ACC_PROGRESS: 0.0 means any improvement that the test rows show
API_ENDPOINT = ""  # another address of AI Platform's API, for tests
TEXT, LABEL = "text", "label"  # columns
# Further parameters of finetune_bert. The parameters of the job are used if RUN_ON is ai_platform.
TRAINING = {
    "job_project": PROJECT,
    "job_location": LOCATION,
    "job_staging": "gs://my-bucket/staging",  # AIPJOB_OUTPUT_GCS_PATH and STAGE_GCS_FOLDER
    # AIPJOB_TRAINER_GCS_PATH was the package with the code; the image now holds the code.
    "job_image": f"my-registry/my-team/python-tensorflow:{__version__}",
}
IMAGES = "my-registry/my-team"  # IMAGE_PREFIX: where a cluster pulls the images from; build them with `make images`


@dsl.pipeline(name="train-pipeline")
def train_pipeline(
    project: str = PROJECT,
    location: str = LOCATION,
    sources: list = SOURCES,
    test_files: list = TEST_FILES,
    registry: str = REGISTRY,
    run_on: str = RUN_ON,
    min_improvement: float = MIN_IMPROVEMENT,
    training: dict = TRAINING,
    api_endpoint: str = API_ENDPOINT,
) -> None:
    """Train in the cluster or as a job, keep the model if it is better, and deploy it to AI Platform."""
    # New: if the run fails or is terminated, this step cancels its jobs.
    over = clean_up_run(
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        registry=registry,
        settings=training,
    ).set_caching_options(False)
    with dsl.ExitHandler(over):
        # max_cache_staleness = "P0D" is set_caching_options(False). It is set on each step that reads what may change.
        # The training is cached, and depends on the pin of its data.
        pinned = pin_data(
            sources=sources, registry=registry, settings=training, run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER
        ).set_caching_options(False)
        # The download in train.py, and the step "Preprocess".
        fetched = fetch_gcs_data(sources=sources, manifest=pinned.outputs["manifest"])
        splits = prepare_text_data(
            data=fetched.outputs["data"],
            text_column=TEXT,
            label_column=LABEL,
            split_by="file",
            test_values=test_files,
        )
        # The step "Train" and ml_engine/train: one step, without a condition on TRAIN_ON_CLOUD.
        trained = finetune_bert(
            train=splits.outputs["train"],
            validation=splits.outputs["validation"],
            base_model_pin=pinned.outputs["base_model_pin"],
            registry=registry,
            run_on=run_on,
            settings=training,
        )
        # What train.py did with accuracy.csv. Here the two models answer the same rows.
        candidate = evaluate_model(model=trained.outputs["model"], test=splits.outputs["test"])
        champion = evaluate_champion(registry=registry, test=splits.outputs["test"]).set_caching_options(False)
        comparison = compare_models(
            candidate=candidate.outputs["evaluation"],
            champion=champion.outputs["evaluation"],
            registry=registry,
            primary_metric="accuracy",
            min_improvement=min_improvement,
        ).set_caching_options(False)
        promotion = promote_model(
            model=trained.outputs["model"],
            evaluation=candidate.outputs["evaluation"],
            decision=comparison.outputs["decision"],
            registry=registry,
            pin=pinned.outputs["pin"],
        ).set_caching_options(False)
        # check_and_deploy_op, its condition on "pending", ml_engine/deploy and finish_deploy_op: one step, which always
        # runs.
        deploy_to_ai_platform(registry=registry, project=project, location=location, api_endpoint=api_endpoint).after(
            promotion
        ).set_caching_options(False)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} PIPELINE.yaml")
    compiler.Compiler().compile(use_images(train_pipeline, IMAGES), sys.argv[1])
