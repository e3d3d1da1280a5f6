r"""A sweep over learning rates and seeds, a few trials at a time; the best trial has to pass the gate.

The best trial is chosen by the validation split. The gate compares it with the champion on the test split, which no
trial has seen. So choosing among many trials does not make the test result too good.

Copy this file and change the lines below. On this machine the pipeline runs with
two trials of a small model that is trained from scratch, which needs higher rates:

    kfp-bert run sweep.py:sweep -p base_model= \
      -p trials='[{"learning_rate": 0.001, "seed": 0}, {"learning_rate": 0.002, "seed": 0}]' \
      -p sources=lines.csv -p registry=./registry -p serving_directory=./serving

For a cluster, compile it with your images, and submit the file to Kubeflow Pipelines or to Vertex AI Pipelines:

    python sweep.py pipeline.yaml
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

# Change these. The first six are also parameters of the pipeline: a run can have other values.
SOURCES = ["gs://my-bucket/lines/*.csv"]  # files, folders and globs with the labelled text
REGISTRY = "gs://my-bucket/registry"  # of the models
SERVING_DIRECTORY = "gs://my-bucket/serving"  # a model server watches this folder
BASE_MODEL = "gs://my-bucket/bert-base-uncased"  # a Hugging Face BERT: hub id or folder; "": trained from scratch
TRAINING: dict = {}  # further parameters of finetune_bert, such as {"epochs": 4, "patience": 1}
TRIALS = [{"learning_rate": rate, "seed": seed} for rate in (2e-5, 3e-5, 5e-5) for seed in (0, 1, 2)]
PODS = 3  # number of trials that run at a time
METRIC = "validation_macro_f1"  # the trial with the highest value is the best
TEXT, LABEL = "text", "label"  # columns
IMAGES = "my-registry/my-team"  # where a cluster pulls the images from: build them with `make images`


# This package's image has KFP's executor, and the nodes have pulled the image already.
@dsl.component(base_image=f"{IMAGES}/python:{__version__}", install_kfp_package=False)
def choose_best(models: dsl.Input[list[dsl.Model]], metric: str, best: dsl.Output[dsl.Model]) -> dict:
    """Copy the model that did best on the validation split, and return the settings that it was trained with."""
    import shutil

    def tried(model: dsl.Model) -> dict:
        return {name: model.metadata["parameters"][name] for name in ("learning_rate", "seed")}

    for model in models:
        print(f"{tried(model)}: {metric} {model.metadata[metric]:.4f}")
    winner = max(models, key=lambda model: model.metadata[metric])
    shutil.copytree(winner.path, best.path, copy_function=shutil.copyfile, dirs_exist_ok=True)
    best.metadata.update(winner.metadata)
    return tried(winner)


@dsl.pipeline(name="sweep")
def sweep(
    sources: list = SOURCES,
    registry: str = REGISTRY,
    serving_directory: str = SERVING_DIRECTORY,
    base_model: str = BASE_MODEL,
    training: dict = TRAINING,
    trials: list = TRIALS,
) -> None:
    """Fine-tune BERT in several ways and serve the best new model only if it is better than the champion."""
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
        with dsl.ParallelFor(trials, parallelism=PODS) as trial:
            trained = finetune_bert(
                train=splits.outputs["train"],
                validation=splits.outputs["validation"],
                base_model=base_model,
                base_model_pin=pinned.outputs["base_model_pin"],
                learning_rate=trial.learning_rate,
                seed=trial.seed,
                registry=registry,  # a training pod that was killed continues from the checkpoints beside it
                settings=training,
            )
            # Ask for what your cluster has:
            # trained.set_memory_limit("16G").set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)
        chosen = choose_best(models=dsl.Collected(trained.outputs["model"]), metric=METRIC)
        candidate = evaluate_model(model=chosen.outputs["best"], test=splits.outputs["test"])
        champion = evaluate_champion(registry=registry, test=splits.outputs["test"]).set_caching_options(False)
        comparison = compare_models(
            candidate=candidate.outputs["evaluation"],
            champion=champion.outputs["evaluation"],
            registry=registry,
            primary_metric="macro_f1",
        ).set_caching_options(False)
        promotion = promote_model(
            model=chosen.outputs["best"],
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
    compiler.Compiler().compile(use_images(sweep, IMAGES), sys.argv[1])
