"""The main pipeline with KServe at its end, made only of component specs that are loaded by URL. Copy this file and
edit it.

    COMPONENT_SPECS=https://.../component_specs python train_and_deploy_to_kserve.py pipeline.yaml my-registry/my-team

writes the compiled pipeline. The last argument is the place from which the cluster pulls the images of the steps (see
`make images`). The parameter `image` names the server's image. The pipeline then runs on Kubeflow:

    kfp.Client().create_run_from_pipeline_package("pipeline.yaml", arguments={...})

The service account of the runs needs the rights of kserve-rights.yaml in the namespace of the InferenceService.
"""

import os
import sys

from kfp import compiler, dsl
from kfp.components import load_component_from_url

# The folder component_specs/ of a release of kfp-bert-components: use a tag in the address, so that your pipeline does
# not change.
SPECS = os.environ["COMPONENT_SPECS"]

pin_data = load_component_from_url(f"{SPECS}/pin_data/component.yaml")
fetch_gcs_data = load_component_from_url(f"{SPECS}/fetch_gcs_data/component.yaml")
prepare_text_data = load_component_from_url(f"{SPECS}/prepare_text_data/component.yaml")
finetune_bert = load_component_from_url(f"{SPECS}/finetune_bert/component.yaml")
evaluate_model = load_component_from_url(f"{SPECS}/evaluate_model/component.yaml")
evaluate_champion = load_component_from_url(f"{SPECS}/evaluate_champion/component.yaml")
compare_models = load_component_from_url(f"{SPECS}/compare_models/component.yaml")
promote_model = load_component_from_url(f"{SPECS}/promote_model/component.yaml")
deploy_to_kserve = load_component_from_url(f"{SPECS}/deploy_to_kserve/component.yaml")
clean_up_run = load_component_from_url(f"{SPECS}/clean_up_run/component.yaml")


@dsl.pipeline(name="my-text-classifier")
def my_text_classifier(
    sources: list,
    registry: str,
    name: str,
    namespace: str,
    storage: str = "",
    image: str = "",
    service_account: str = "",
    base_model: str = "",
    epochs: int = 0,
):
    """Fine-tune BERT on labelled text and serve the new model only if it is better than the champion."""
    # This step runs however the run ends, even if it is terminated. If the run did not end well, this step cancels the
    # run's jobs on AI Platform and names a rollout that is under way. For jobs (run_on="ai_platform") give job_project
    # and job_location here too.
    over = clean_up_run(
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER, registry=registry
    ).set_caching_options(False)
    with dsl.ExitHandler(over):
        # Steps that read what may change outside the pipeline are not cached. The data and the base model are pinned:
        # the steps that read them depend on the pin, and come from the cache as long as the pin is the same.
        pinned = pin_data(
            sources=sources, registry=registry, base_model=base_model, run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER
        ).set_caching_options(False)
        fetched = fetch_gcs_data(sources=sources, manifest=pinned.outputs["manifest"])
        splits = prepare_text_data(data=fetched.outputs["data"], text_column="text", label_column="label")
        training = finetune_bert(
            train=splits.outputs["train"],
            validation=splits.outputs["validation"],
            base_model=base_model,
            base_model_pin=pinned.outputs["base_model_pin"],
            epochs=epochs,
            registry=registry,  # a training pod that was killed continues from the checkpoints beside it
        )
        # Ask for what your cluster has:
        # training.set_memory_limit("16G").set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)
        candidate = evaluate_model(model=training.outputs["model"], test=splits.outputs["test"])
        champion = evaluate_champion(registry=registry, test=splits.outputs["test"]).set_caching_options(False)
        comparison = compare_models(
            candidate=candidate.outputs["evaluation"],
            champion=champion.outputs["evaluation"],
            registry=registry,
            primary_metric="macro_f1",
        ).set_caching_options(False)
        promotion = promote_model(
            model=training.outputs["model"],
            evaluation=candidate.outputs["evaluation"],
            decision=comparison.outputs["decision"],
            registry=registry,
            pin=pinned.outputs["pin"],
        ).set_caching_options(False)
        # This step always runs: it looks at the InferenceService, and does nothing if that already serves the champion.
        deploy_to_kserve(
            registry=registry,  # gs:// or s3://; for a folder on a volume, set `storage` to pvc://CLAIM/FOLDER
            name=name,
            namespace=namespace,
            storage=storage,
            image=image,  # my-registry/my-team/serve:VERSION
            service_account=service_account,  # of the pods; its secret lets KServe read the bucket
            # Ask for what your model needs:
            # cpu="2", memory="2Gi", min_replicas=2, max_replicas=4, bake_seconds=300,
        ).after(promotion).set_caching_options(False)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(f"usage: python {sys.argv[0]} PIPELINE.yaml [IMAGES]")
    target, *images = sys.argv[1:]
    if images:
        from kfp_bert_components import use_images  # this package needs only kfp

        my_text_classifier = use_images(my_text_classifier, images[0])
    compiler.Compiler().compile(my_text_classifier, target)
