"""The end of the main pipeline, for a candidate that is there already."""

from kfp import dsl

from kfp_bert_components import deploy_to_serving_directory, promote_model


@dsl.pipeline(name="promote-and-deploy")
def promote_and_deploy(model: str, evaluation: str, decision: str, registry: str, serving_directory: str):
    """Promote a candidate if its decision says so, and deploy the champion."""
    folders = {
        "model": dsl.importer(artifact_uri=model, artifact_class=dsl.Model).output,
        "evaluation": dsl.importer(artifact_uri=evaluation, artifact_class=dsl.Artifact).output,
        "decision": dsl.importer(artifact_uri=decision, artifact_class=dsl.Artifact).output,
    }
    promotion = promote_model(**folders, registry=registry).set_caching_options(False)
    deploy_to_serving_directory(registry=registry, serving_directory=serving_directory).after(
        promotion
    ).set_caching_options(False)
