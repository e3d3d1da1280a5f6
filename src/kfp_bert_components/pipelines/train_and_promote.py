"""The first steps of every ready pipeline: labelled text in, and a new champion if the candidate is better.

And the task of its exit handler, which runs however the pipeline ends.
"""

from typing import Any

from kfp import dsl

from kfp_bert_components import (
    clean_up_run,
    compare_models,
    evaluate_champion,
    evaluate_model,
    fetch_gcs_data,
    finetune_bert,
    pin_data,
    prepare_text_data,
    promote_model,
)

# Id and name of the run in the records. Only for steps that are never cached, because each run has others.
RUN = {"run_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER, "run_name": dsl.PIPELINE_JOB_NAME_PLACEHOLDER}


def train_and_promote(
    *,
    sources: Any,
    registry: Any,
    deployment_target: Any,
    data: dict[str, Any],
    training: dict[str, Any],
    evidence_by: Any,
    gate: dict[str, Any],
    keep_texts: Any = "all",
    mirror_to: Any = [],
) -> dsl.PipelineTask:
    """Add the steps from pin_data to promote_model to the pipeline that is being defined.

    Args:
        sources: Parameter of the pipeline: files, folders or globs.
        registry: Parameter of the pipeline: the model registry.
        deployment_target: Parameter of the pipeline: name of the deployment record.
        data: Parameters of prepare_text_data.
        training: Parameters of finetune_bert.
        evidence_by: Parameter of the pipeline: what counts as one piece of evidence in the test split.
        gate: Parameters of compare_models.
        keep_texts: Parameter of the pipeline: all, or ids to leave the texts out of evaluations and pages.
        mirror_to: Parameter of the pipeline: registries of others that are told of the champion.

    Returns:
        The task of promote_model, which comes before the step that deploys.
    """
    # Steps that read what can change outside the pipeline are not cached. The data and the base model are pinned: steps
    # that read them depend on the pin, so KFP takes their results from the cache as long as the pin is the same.
    pinned = pin_data(
        sources=sources,
        registry=registry,
        base_model=training["base_model"],
        settings=training["settings"],
        prepare=data["settings"],
        **{name: gate[name] for name in ("primary_metric", "min_improvement", "alpha", "policy")},
        run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        mirror_to=mirror_to,
        evidence_by=evidence_by,
    ).set_caching_options(False)
    fetched = fetch_gcs_data(sources=sources, manifest=pinned.outputs["manifest"])
    splits = prepare_text_data(data=fetched.outputs["data"], reference=registry, keep_texts=keep_texts, **data).outputs
    model = finetune_bert(
        train=splits["train"],
        validation=splits["validation"],
        base_model_pin=pinned.outputs["base_model_pin"],
        registry=registry,
        keep_texts=keep_texts,
        **training,
    ).outputs["model"]
    scoring = {"test": splits["test"], "evidence_by": evidence_by, "keep_texts": keep_texts}
    candidate = evaluate_model(model=model, **scoring).outputs["evaluation"]
    champion = evaluate_champion(registry=registry, **scoring).set_caching_options(False)
    comparison = compare_models(
        candidate=candidate, champion=champion.outputs["evaluation"], registry=registry, **RUN, **gate
    ).set_caching_options(False)
    return promote_model(
        model=model,
        evaluation=candidate,
        decision=comparison.outputs["decision"],
        registry=registry,
        deployment_target=deployment_target,
        **RUN,
        pin=pinned.outputs["pin"],
        mirror_to=mirror_to,
    ).set_caching_options(False)


def clean_up(registry: Any, deployment_target: Any, training: Any) -> dsl.PipelineTask:
    """The task for the pipeline's dsl.ExitHandler, which ends what a run leaves.

    Args:
        registry: Parameter of the pipeline: the model registry.
        deployment_target: Parameter of the pipeline: name of the deployment record.
        training: Parameter of the pipeline: further parameters of finetune_bert, which say where its job runs.
    """
    return clean_up_run(
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        registry=registry,
        deployment_target=deployment_target,
        settings=training,
    ).set_caching_options(False)
