r"""Secrets, volumes, node selectors and shared memory of Kubernetes, by the library kfp-kubernetes.

A file, cluster.yaml, says the same for any pipeline, without a line of Python (docs/cluster.md):

    all:
      volumes: {bert-data: /data}
      secrets:
        bucket-key: {path: /secrets/bucket}
      env: {GOOGLE_APPLICATION_CREDENTIALS: /secrets/bucket/key.json}
    training:
      accelerator: {type: nvidia.com/gpu, count: 1}
      node_selector: {cloud.google.com/gke-accelerator: nvidia-l4}
      tolerations:
        - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
      shared_memory: 2Gi
      secrets:
        hub: {variables: {HF_TOKEN: token}}
    deployment:
      volumes: {bert-serving: /serving}

Use the file if one pipeline runs in several places, or if other people manage the cluster. Use the library if a setting
depends on the pipeline, or if the file does not have it, such as a volume that a run creates and removes.

Copy this file and change the lines below. On this machine, where there are no pods, the pipeline runs with

    kfp-bert run on_kubernetes.py:on_kubernetes \
      -p sources=lines.csv -p registry=./registry -p serving_directory=./serving

For a cluster, compile it with your images, and submit the file to Kubeflow Pipelines:

    python on_kubernetes.py pipeline.yaml
    kfp-bert submit pipeline.yaml --host https://my-kubeflow/pipeline

Vertex AI Pipelines has no pods, and reads none of these settings: PLATFORM=vertex leaves them out.

    PLATFORM=vertex python on_kubernetes.py pipeline.yaml
    kfp-bert submit pipeline.yaml --project my-project --location europe-west4 --pipeline-root gs://my-bucket/runs \
      -p sources=gs://my-bucket/lines -p registry=gs://my-bucket/registry -p serving_directory=gs://my-bucket/serving
"""

import os
import sys

from kfp import compiler, dsl, kubernetes

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
SOURCES = ["/data/lines"]  # files, folders and globs with the labelled text; here on a volume
REGISTRY = "/data/registry"  # of the models
SERVING_DIRECTORY = "/serving"  # a model server watches this folder
BASE_MODEL = ""  # a Hugging Face BERT: hub id or folder; "" trains a small model from scratch
TRAINING: dict = {}  # further parameters of finetune_bert, such as {"epochs": 4, "patience": 1}
TEXT, LABEL = "text", "label"  # columns
IMAGES = "my-registry/my-team"  # where a cluster pulls the images from: build them with `make images`
PLATFORM = os.environ.get("PLATFORM", "kubernetes")  # or vertex


def everywhere(task: dsl.PipelineTask) -> None:
    """What each pod gets: the volume with data and registry, and the key for the bucket."""
    # Steps run on several nodes, so the claim must be ReadWriteMany.
    kubernetes.mount_pvc(task, "bert-data", "/data")
    # Each key of the secret is a file: kubectl create secret generic bucket-key --from-file=key.json
    kubernetes.use_secret_as_volume(task, "bucket-key", "/secrets/bucket")
    task.set_env_variable("GOOGLE_APPLICATION_CREDENTIALS", "/secrets/bucket/key.json")


def on_a_gpu(task: dsl.PipelineTask) -> None:
    """What the pod that trains gets besides: a GPU, and a node that has one."""
    task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)
    kubernetes.add_node_selector(task, "cloud.google.com/gke-accelerator", "nvidia-l4")
    kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
    # /dev/shm has 64 MB by default; several GPUs exchange gradients in it. It counts as memory of the pod.
    kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", "Memory", "2Gi")
    # A key of the secret as a variable: kubectl create secret generic hub --from-literal=token=...
    kubernetes.use_secret_as_env(task, "hub", {"token": "HF_TOKEN"})


@dsl.pipeline(name="on-kubernetes")
def on_kubernetes(
    sources: list = SOURCES,
    registry: str = REGISTRY,
    serving_directory: str = SERVING_DIRECTORY,
    base_model: str = BASE_MODEL,
    training: dict = TRAINING,
) -> None:
    """Fine-tune BERT on labelled text and serve the new model only if it is better than the champion."""
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
        promotion = promote_model(
            model=trained.outputs["model"],
            evaluation=candidate.outputs["evaluation"],
            decision=comparison.outputs["decision"],
            registry=registry,
            pin=pinned.outputs["pin"],
        ).set_caching_options(False)
        deployed = deploy_to_serving_directory(registry=registry, serving_directory=serving_directory)
        deployed.after(promotion).set_caching_options(False)
    if PLATFORM == "kubernetes":
        for task in (over, pinned, fetched, splits, trained, candidate, champion, comparison, promotion, deployed):
            everywhere(task)
        on_a_gpu(trained)
        kubernetes.mount_pvc(deployed, "bert-serving", "/serving")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} PIPELINE.yaml")
    compiler.Compiler().compile(use_images(on_kubernetes, IMAGES), sys.argv[1])
