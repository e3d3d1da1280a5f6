r"""Messages to a support team in eight categories, compared also by channel and by plan.

support_messages_data.py writes made-up messages to try this pipeline on. Copy this file and change the lines below. On
this machine the pipeline runs with

    python support_messages_data.py messages.csv
    kfp-bert run support_messages.py:support_messages \
      -p sources=messages.csv -p registry=./registry -p serving_directory=./serving

For a cluster, compile it with your images, and submit the file to Kubeflow Pipelines or to Vertex AI Pipelines:

    python support_messages.py pipeline.yaml
    kfp-bert submit pipeline.yaml --host https://my-kubeflow/pipeline
    kfp-bert submit pipeline.yaml --project my-project --location europe-west4 --pipeline-root gs://my-bucket/runs
"""

import sys

from kfp import compiler, dsl

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
SOURCES = ["gs://my-bucket/messages/*.csv"]  # files, folders and globs with the labelled text
REGISTRY = "gs://my-bucket/registry"  # of the models
SERVING_DIRECTORY = "gs://my-bucket/serving"  # a model server watches this folder
BASE_MODEL = ""  # a Hugging Face BERT: hub id or folder; "" trains a small model from scratch
TRAINING: dict = {}  # further parameters of finetune_bert, such as {"epochs": 4, "patience": 1}
TEXT, LABEL = "text", "category"  # columns
SLICES = ["channel", "plan"]  # each value of these columns is evaluated on its own
# A better model on the whole may be worse for some. If this can't be ruled out, the model is not promoted.
POLICY = """
primary_metric: macro_f1
max_class_drop: 0.1   # F1 of a category may fall by less than this
max_slice_drop: 0.1   # accuracy on one channel or plan may fall by less than this
min_rows: 50          # the two rules leave out categories and slices with fewer rows in the test split
"""
IMAGES = "my-registry/my-team"  # where a cluster pulls the images from: build them with `make images`


@dsl.pipeline(name="support-messages")
def support_messages(
    sources: list = SOURCES,
    registry: str = REGISTRY,
    serving_directory: str = SERVING_DIRECTORY,
    base_model: str = BASE_MODEL,
    training: dict = TRAINING,
) -> None:
    """Sort messages into categories, with a new model only if it is better, and worse for no channel or plan."""
    over = clean_up_run(
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        registry=registry,
        settings=training,
    ).set_caching_options(False)
    with dsl.ExitHandler(over):
        pinned = pin_data(
            sources=sources,
            registry=registry,
            base_model=base_model,
            settings=training,
            policy=POLICY,  # a mistake in the policy ends the run here, before the training
            run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        ).set_caching_options(False)
        fetched = fetch_gcs_data(sources=sources, manifest=pinned.outputs["manifest"])
        splits = prepare_text_data(
            data=fetched.outputs["data"],
            text_column=TEXT,
            label_column=LABEL,
            metadata_columns=SLICES,
            reference=registry,  # the report says what has changed since the champion's data
        )
        trained = finetune_bert(
            train=splits.outputs["train"],
            validation=splits.outputs["validation"],
            base_model=base_model,
            base_model_pin=pinned.outputs["base_model_pin"],
            registry=registry,
            settings=training,
        )
        candidate = evaluate_model(model=trained.outputs["model"], test=splits.outputs["test"], slice_columns=SLICES)
        champion = evaluate_champion(registry=registry, test=splits.outputs["test"]).set_caching_options(False)
        comparison = compare_models(
            candidate=candidate.outputs["evaluation"],
            champion=champion.outputs["evaluation"],
            registry=registry,
            policy=POLICY,
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


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} PIPELINE.yaml")
    compiler.Compiler().compile(use_images(support_messages, IMAGES), sys.argv[1])
