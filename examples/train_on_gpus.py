r"""Training on spot GPUs of AI Platform; it is started again when a machine is taken away.

All other steps run where the pipeline runs.

Copy this file and change the lines below. On this machine the pipeline runs with

    kfp-bert run train_on_gpus.py:train_on_gpus \
      -p sources=gs://my-bucket/lines -p registry=./registry -p serving_directory=./serving

For a cluster, compile it with your images, and submit the file to Kubeflow Pipelines or to Vertex AI Pipelines:

    python train_on_gpus.py pipeline.yaml
    kfp-bert submit pipeline.yaml --host https://my-kubeflow/pipeline
    kfp-bert submit pipeline.yaml --project my-project --location europe-west4 --pipeline-root gs://my-bucket/runs
"""

import sys

from kfp import compiler, dsl

from kfp_bert_components import (
    __version__,
    clean_up_run,
    compare_models,
    deploy_to_serving_directory,
    evaluate_champion,
    evaluate_model,
    fetch_gcs_data,
    finetune_bert,
    pin_data,
    prepare_text_data,
    promote_model,
    use_images,
)

# Change these. The first five are also parameters of the pipeline: a run can have other values.
SOURCES = ["gs://my-bucket/lines/*.csv"]  # files, folders and globs with the labelled text
REGISTRY = "gs://my-bucket/registry"  # of the models
SERVING_DIRECTORY = "gs://my-bucket/serving"  # a model server watches this folder
BASE_MODEL = "gs://my-bucket/bert-base-uncased"  # a Hugging Face BERT: hub id or folder
TEXT, LABEL = "text", "label"  # columns
IMAGES = "my-registry/my-team"  # where a cluster pulls the images from: build them with `make images`
# Parameters of finetune_bert: where the job runs, and on which machine.
TRAINING = {
    "run_on": "ai_platform",
    "job_project": "my-project",
    "job_location": "europe-west4",
    "job_staging": "gs://my-bucket/staging",  # data, checkpoints and outputs of the job
    "job_image": f"my-registry/my-team-gpu/python-tensorflow:{__version__}",  # `make images CUDA=1`
    "job_machine_type": "g2-standard-8",
    "job_accelerator_type": "NVIDIA_L4",
    "job_accelerator_count": 1,
    "job_spot": True,  # cheaper; the machine may be taken away
    "job_max_hours": 12.0,
    "checkpoint_minutes": 5.0,  # the most training that is lost with the machine
}
TRIES = 5  # further tries after the first, if the job's machine is taken away


@dsl.pipeline(name="train-on-gpus")
def train_on_gpus(
    sources: list = SOURCES,
    registry: str = REGISTRY,
    serving_directory: str = SERVING_DIRECTORY,
    base_model: str = BASE_MODEL,
    training: dict = TRAINING,
) -> None:
    """Fine-tune BERT on labelled text and serve the new model only if it is better than the champion."""
    # This step runs however the run ends, even if it is terminated. If the run did not end well, this step cancels the
    # job.
    over = clean_up_run(
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        registry=registry,
        settings=training,
    ).set_caching_options(False)
    with dsl.ExitHandler(over):
        # Steps that read what may change outside the pipeline are not cached. The data and the base model are pinned:
        # the steps that read them depend on the pin, and come from the cache as long as the pin is the same.
        pinned = pin_data(
            sources=sources,
            registry=registry,
            base_model=base_model,
            settings=training,
            run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        ).set_caching_options(False)
        fetched = fetch_gcs_data(sources=sources, manifest=pinned.outputs["manifest"])
        splits = prepare_text_data(data=fetched.outputs["data"], text_column=TEXT, label_column=LABEL)
        trained = finetune_bert(
            train=splits.outputs["train"],
            validation=splits.outputs["validation"],
            base_model=base_model,
            base_model_pin=pinned.outputs["base_model_pin"],
            registry=registry,
            settings=training,
        )
        # If the step is tried again, it waits for the job that runs, or starts a job that continues from the newest
        # checkpoint. With Kubeflow's own manifests, a step is tried again if its pod was lost, but not if its job
        # failed (docs/cluster.md); in that case run the pipeline again.
        trained.set_retry(TRIES, backoff_duration="60s", backoff_factor=2)
        candidate = evaluate_model(model=trained.outputs["model"], test=splits.outputs["test"])
        champion = evaluate_champion(registry=registry, test=splits.outputs["test"]).set_caching_options(False)
        comparison = compare_models(
            candidate=candidate.outputs["evaluation"],
            champion=champion.outputs["evaluation"],
            registry=registry,
            primary_metric="macro_f1",
        ).set_caching_options(False)
        promotion = promote_model(
            model=trained.outputs["model"],
            evaluation=candidate.outputs["evaluation"],
            decision=comparison.outputs["decision"],
            registry=registry,
            pin=pinned.outputs["pin"],
        ).set_caching_options(False)
        # This step always runs: it looks at the folder, and does nothing if the champion is already served.
        deploy_to_serving_directory(registry=registry, serving_directory=serving_directory).after(
            promotion
        ).set_caching_options(False)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} PIPELINE.yaml")
    compiler.Compiler().compile(use_images(train_on_gpus, IMAGES), sys.argv[1])
