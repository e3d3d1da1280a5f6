r"""The pipeline of train_and_deploy.py, made of component specs that are loaded by URL: only kfp has to be installed.

Copy this file, change the lines below, and write the pipeline with your images:

    python train_and_deploy_by_url.py pipeline.yaml

Submit it to Kubeflow Pipelines, or to Vertex AI Pipelines:

    kfp.Client(host="https://my-kubeflow/pipeline").create_run_from_pipeline_package("pipeline.yaml", arguments={})
    aiplatform.PipelineJob(
        display_name="bert", template_path="pipeline.yaml", pipeline_root="gs://my-bucket/runs"
    ).submit()

On a machine with kfp-bert-components[local], the pipeline runs with

    kfp-bert run pipeline.yaml -p sources=lines.csv -p registry=./registry -p serving_directory=./serving
"""

import os
import sys
from pathlib import Path

from kfp import compiler, dsl
from kfp.components import load_component_from_url

# Change these. The first five are also parameters of the pipeline: a run can have other values.
SOURCES = ["gs://my-bucket/lines/*.csv"]  # files, folders and globs with the labelled text
REGISTRY = "gs://my-bucket/registry"  # of the models
SERVING_DIRECTORY = "gs://my-bucket/serving"  # a model server watches this folder
BASE_MODEL = ""  # a Hugging Face BERT: hub id or folder; "" trains a small model from scratch
TRAINING: dict = {}  # further parameters of finetune_bert, such as {"epochs": 4, "patience": 1}
TEXT, LABEL = "text", "label"  # columns
IMAGES = "my-registry/my-team"  # where a cluster pulls the images from: build them with `make images`
# The folder component_specs/ of a release: its tag is in the address, so your pipeline does not change. Version 0.1.0
# is not released yet, so this address does not exist. Until the release, serve the folder of your copy of the
# repository (python -m http.server --bind 127.0.0.1 --directory component_specs 8000) and write http://127.0.0.1:8000
# here.
SPECS = os.environ.get("COMPONENT_SPECS", "https://kfp-bert-components.invalid/v0.1.0/component_specs")

pin_data = load_component_from_url(f"{SPECS}/pin_data/component.yaml")
fetch_gcs_data = load_component_from_url(f"{SPECS}/fetch_gcs_data/component.yaml")
prepare_text_data = load_component_from_url(f"{SPECS}/prepare_text_data/component.yaml")
finetune_bert = load_component_from_url(f"{SPECS}/finetune_bert/component.yaml")
evaluate_model = load_component_from_url(f"{SPECS}/evaluate_model/component.yaml")
evaluate_champion = load_component_from_url(f"{SPECS}/evaluate_champion/component.yaml")
compare_models = load_component_from_url(f"{SPECS}/compare_models/component.yaml")
promote_model = load_component_from_url(f"{SPECS}/promote_model/component.yaml")
deploy_to_serving_directory = load_component_from_url(f"{SPECS}/deploy_to_serving_directory/component.yaml")
clean_up_run = load_component_from_url(f"{SPECS}/clean_up_run/component.yaml")


@dsl.pipeline(name="my-text-classifier")
def my_text_classifier(
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
        # This step always runs: it looks at the folder, and does nothing if the champion is already served.
        deploy_to_serving_directory(registry=registry, serving_directory=serving_directory).after(
            promotion
        ).set_caching_options(False)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} PIPELINE.yaml")
    target = Path(sys.argv[1])
    compiler.Compiler().compile(my_text_classifier, str(target))
    target.write_text(target.read_text().replace("image: kfp-bert-components/", f"image: {IMAGES}/"))
