r"""A person approves each model that the gate wants to promote, before it becomes champion.

Copy this file and change the lines below. On this machine the pipeline runs with

    kfp-bert run human_approval.py:train_and_ask \
      -p sources=lines.csv -p registry=./registry -p serving_directory=./serving

For a cluster, compile it with your images, and submit the file to Kubeflow Pipelines or to Vertex AI Pipelines:

    python human_approval.py pipeline.yaml
    kfp-bert submit pipeline.yaml --host https://my-kubeflow/pipeline
    kfp-bert submit pipeline.yaml --project my-project --location europe-west4 --pipeline-root gs://my-bucket/runs

If the gate says PROMOTE, the log of wait-for-approval says what to read, and how to answer:

    kfp-bert registry approve gs://my-bucket/registry              (lists what waits)
    kfp-bert registry approve gs://my-bucket/registry DECISION
    kfp-bert registry reject gs://my-bucket/registry DECISION --reason 'wrong on refunds'

Anyone who can write to the registry can answer. A model that is rejected, or not approved in time, is not promoted: the
run still ends well, and the current model stays in service. A small pod waits for the answer.
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
    wait_for_approval,
)

# Change these. The first six are also parameters of the pipeline: a run can have other values.
SOURCES = ["gs://my-bucket/lines/*.csv"]  # files, folders and globs with the labelled text
REGISTRY = "gs://my-bucket/registry"  # of the models
SERVING_DIRECTORY = "gs://my-bucket/serving"  # a model server watches this folder
BASE_MODEL = ""  # a Hugging Face BERT: hub id or folder; "" trains a small model from scratch
TRAINING: dict = {}  # further parameters of finetune_bert, such as {"epochs": 4, "patience": 1}
HOURS = 24.0  # hours that a run waits for an answer
TEXT, LABEL = "text", "label"  # columns
IMAGES = "my-registry/my-team"  # where a cluster pulls the images from: build them with `make images`


@dsl.pipeline(name="train-and-ask")
def train_and_ask(
    sources: list = SOURCES,
    registry: str = REGISTRY,
    serving_directory: str = SERVING_DIRECTORY,
    base_model: str = BASE_MODEL,
    training: dict = TRAINING,
    hours: float = HOURS,
) -> None:
    """Fine-tune BERT on labelled text, and serve the new model if it is better and a person approves it."""
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
        candidate = evaluate_model(model=trained.outputs["model"], test=splits.outputs["test"])
        champion = evaluate_champion(registry=registry, test=splits.outputs["test"]).set_caching_options(False)
        comparison = compare_models(
            candidate=candidate.outputs["evaluation"],
            champion=champion.outputs["evaluation"],
            registry=registry,
            primary_metric="macro_f1",
        ).set_caching_options(False)
        # The person is asked before the promotion. So no step that deploys the champion, in this run or another, can
        # serve the model before the answer. If the pod is lost, the step is tried again, and waits until the same time
        # as before.
        approval = wait_for_approval(decision=comparison.outputs["decision"], registry=registry, hours=hours)
        approval.set_caching_options(False).set_retry(3)
        promotion = promote_model(
            model=trained.outputs["model"],
            evaluation=candidate.outputs["evaluation"],
            decision=approval.outputs["answered"],  # instead of the decision of compare_models
            registry=registry,
            pin=pinned.outputs["pin"],
        ).set_caching_options(False)
        deploy_to_serving_directory(registry=registry, serving_directory=serving_directory).after(
            promotion
        ).set_caching_options(False)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} PIPELINE.yaml")
    compiler.Compiler().compile(use_images(train_and_ask, IMAGES), sys.argv[1])
