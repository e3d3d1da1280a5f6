r"""A message in people's chat says how each run ended: outcome, reason, and where to read more.

Copy this file and change the lines below. On this machine the pipeline runs with

    KFP_BERT_WEBHOOK=https://chat.example.com/hooks/... kfp-bert run tell_people.py:train_and_tell \
      -p sources=lines.csv -p registry=./registry -p serving_directory=./serving

For Kubeflow Pipelines, put the webhook's address into a secret, because anyone who knows it can post there. Give the
secret to the light steps (clean_up_run is one of them), and submit the pipeline:

    kubectl create secret generic chat --from-literal=webhook=https://chat.example.com/hooks/...
    python tell_people.py pipeline.yaml
    kfp-bert compile pipeline.yaml pipeline.yaml \
      --set light.secrets='{chat: {variables: {KFP_BERT_WEBHOOK: webhook}}}'
    kfp-bert submit pipeline.yaml --host https://my-kubeflow/pipeline

Vertex AI Pipelines has no cluster secrets: the address is a parameter, and the run's page shows it.

    kfp-bert submit pipeline.yaml --project my-project --location europe-west4 --pipeline-root gs://my-bucket/runs \
      -p webhook=https://chat.example.com/hooks/...

Each run sends one message, {"text": ...}, which Slack, Mattermost and Google Chat accept:

    Run train-and-tell-qhfhp failed. https://my-kubeflow/pipeline/#/runs/details/7ce82970-d2e6-40eb-b980-9dcaf816aab0
    PROMOTE: Macro F1 rose by 0.494 over version 1 (90 % interval +0.464 to +0.524), which 430 test rows show ...
    Comparison: gs://my-bucket/runs/.../compare-models/.../report
    The rollout of version 2 to production failed, and version 1 serves as before. Why: kfp-bert registry history ...

The message also has lines for HOLD, for an alarm about the data, and for the answer to a request for approval. It
contains no text of the data: if a text, such as an error, may quote the data, the message gives only the command that
shows it. A webhook that fails or hangs changes nothing: the step gives up after ten seconds, and says so.
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
SOURCES = ["gs://my-bucket/lines/*.csv"]  # files, folders and globs with the labelled text
REGISTRY = "gs://my-bucket/registry"  # of the models
SERVING_DIRECTORY = "gs://my-bucket/serving"  # a model server watches this folder
BASE_MODEL = ""  # a Hugging Face BERT: hub id or folder; "" trains a small model from scratch
TRAINING: dict = {}  # further parameters of finetune_bert, such as {"epochs": 4, "patience": 1}
TEXT, LABEL = "text", "label"  # columns
IMAGES = "my-registry/my-team"  # where a cluster pulls the images from: build them with `make images`


@dsl.pipeline(name="train-and-tell")
def train_and_tell(
    sources: list = SOURCES,
    registry: str = REGISTRY,
    serving_directory: str = SERVING_DIRECTORY,
    base_model: str = BASE_MODEL,
    training: dict = TRAINING,
    webhook: str = "",
) -> None:
    """Fine-tune BERT on labelled text, serve the new model if it is better, and tell people the result."""
    # KFP runs this step however the run ends. An exit handler can have only one step, so this step does both: it
    # cancels the jobs that the run left, and sends the message. It reads the facts about the run from the registry.
    over = clean_up_run(
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        registry=registry,
        settings=training,
        webhook=webhook,
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
    compiler.Compiler().compile(use_images(train_and_tell, IMAGES), sys.argv[1])
