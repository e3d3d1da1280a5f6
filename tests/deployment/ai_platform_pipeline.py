"""The main pipeline with an endpoint of AI Platform at its end."""

from typing import List  # noqa: UP035

from kfp import dsl

from kfp_bert_components import (
    compare_models,
    evaluate_champion,
    evaluate_model,
    fetch_gcs_data,
    finetune_bert,
    prepare_text_data,
    promote_model,
)
from kfp_bert_components.components.deploy_to_ai_platform import deploy_to_ai_platform


@dsl.pipeline(name="deploy")
def deploy(registry: str, api_endpoint: str):
    """Deploy the champion where it is not live yet."""
    deploy_to_ai_platform(
        registry=registry,
        project="p",
        location="region-1",
        api_endpoint=api_endpoint,
        canary_percent=30,
        drain_seconds=0.0,
        max_latency_seconds=20.0,
    ).set_caching_options(False)


@dsl.pipeline(name="train-and-deploy-to-ai-platform")
def train_and_deploy(sources: List[str], registry: str, api_endpoint: str, epochs: int):  # noqa: UP006
    """Fine-tune a small BERT and serve it at an endpoint if it is better than the champion."""
    fetched = fetch_gcs_data(sources=sources).set_caching_options(False)
    splits = prepare_text_data(data=fetched.outputs["data"], test_fraction=0.3).outputs
    model = finetune_bert(
        train=splits["train"],
        validation=splits["validation"],
        epochs=epochs,
        layers=1,
        width=64,
        heads=2,
        max_length=48,
    ).outputs["model"]
    candidate = evaluate_model(model=model, test=splits["test"]).outputs["evaluation"]
    champion = evaluate_champion(registry=registry, test=splits["test"]).set_caching_options(False)
    comparison = compare_models(
        candidate=candidate,
        champion=champion.outputs["evaluation"],
        policy="require_all_classes: false",  # the first model knows some of them
    )
    promotion = promote_model(
        model=model, evaluation=candidate, decision=comparison.outputs["decision"], registry=registry
    ).set_caching_options(False)
    deploy(registry=registry, api_endpoint=api_endpoint).after(promotion)
