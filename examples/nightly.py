r"""Retraining each night: if neither the data nor the base model has changed, nothing is trained.

Copy this file and change the lines below. On this machine the pipeline runs with

    kfp-bert run nightly.py:nightly \
      -p sources=lines.csv -p registry=./registry -p serving_directory=./serving

For a cluster, compile it with your images, and submit the file to Kubeflow Pipelines or to Vertex AI Pipelines:

    python nightly.py pipeline.yaml
    kfp-bert submit pipeline.yaml --host https://my-kubeflow/pipeline
    kfp-bert submit pipeline.yaml --project my-project --location europe-west4 --pipeline-root gs://my-bucket/runs

Schedule a run each night at three o'clock, one run at a time, on one of the two:

    kfp-bert schedule create pipeline.yaml --name nightly --cron '0 3 * * *' --host https://my-kubeflow/pipeline
    kfp-bert schedule create pipeline.yaml --name nightly --cron '0 3 * * *' --time-zone Asia/Seoul \
      --project my-project --location europe-west4 --pipeline-root gs://my-bucket/runs

The function `schedule` below does the same on Kubeflow Pipelines, with kfp's client alone.
"""

import sys

from kfp import Client, compiler, dsl

from kfp_bert_components import (
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
BASE_MODEL = ""  # a Hugging Face BERT: hub id or folder; "" trains a small model from scratch
TRAINING: dict = {}  # further parameters of finetune_bert, such as {"epochs": 4, "patience": 1}
TEXT, LABEL = "text", "label"  # columns
IMAGES = "my-registry/my-team"  # where a cluster pulls the images from: build them with `make images`


@dsl.pipeline(name="nightly")
def nightly(
    sources: list = SOURCES,
    registry: str = REGISTRY,
    serving_directory: str = SERVING_DIRECTORY,
    base_model: str = BASE_MODEL,
    training: dict = TRAINING,
) -> None:
    """Fine-tune BERT on labelled text and serve the new model only if it is better than the champion."""
    # This step runs however the run ends, even if it is terminated. If the run did not end well, this step cancels the
    # run's jobs on AI Platform and names a rollout that is under way.
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
        # True if the champion was trained on other data or from another base model, or if there is no champion. If
        # changed data gave no better model, this is True each night, but the training runs only once: KFP's cache has
        # its result.
        with dsl.If(pinned.outputs["changed"] == True):  # noqa: E712 (KFP reads the comparison)
            fetched = fetch_gcs_data(sources=sources, manifest=pinned.outputs["manifest"])
            splits = prepare_text_data(data=fetched.outputs["data"], text_column=TEXT, label_column=LABEL)
            trained = finetune_bert(
                train=splits.outputs["train"],
                validation=splits.outputs["validation"],
                base_model=base_model,
                base_model_pin=pinned.outputs["base_model_pin"],
                registry=registry,  # a training pod that was killed continues from the checkpoints beside it
                settings=training,
            )
            # Ask for what your cluster has:
            # trained.set_memory_limit("16G").set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)
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
            deploy_to_serving_directory(registry=registry, serving_directory=serving_directory).after(
                promotion
            ).set_caching_options(False)
        with dsl.Else():
            # If the champion is already served, this step does nothing. If the last run ended before its deployment,
            # this step deploys.
            deploy_to_serving_directory(registry=registry, serving_directory=serving_directory).set_caching_options(
                False
            )


def schedule(pipeline: str, host: str) -> None:
    """Let a compiled pipeline run each night on Kubeflow Pipelines."""
    client = Client(host=host)
    client.create_recurring_run(
        experiment_id=client.create_experiment("nightly").experiment_id,
        job_name="nightly",
        pipeline_package_path=pipeline,
        cron_expression="0 0 3 * * *",  # second, minute, hour ..., in UTC unless the server was given another time zone
        max_concurrency=1,
        no_catchup=True,  # a missed run is not started later
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} PIPELINE.yaml")
    compiler.Compiler().compile(use_images(nightly, IMAGES), sys.argv[1])
