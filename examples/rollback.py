r"""Go back to an older model, from the UI: the champion moves, and what is served follows.

Copy this file and change the lines below. On this machine the pipeline runs with

    kfp-bert run rollback.py:roll_back \
      -p registry=./registry -p serving_directory=./serving -p reason='wrong labels in May'

For a cluster, compile it with your images, and submit the file to Kubeflow Pipelines or to Vertex AI Pipelines:

    python rollback.py pipeline.yaml
    kfp-bert submit pipeline.yaml --host https://my-kubeflow/pipeline -p reason='wrong labels in May'
    kfp-bert submit pipeline.yaml --project my-project --location europe-west4 --pipeline-root gs://my-bucket/runs \
      -p reason='wrong labels in May'

Once it is uploaded (`kfp pipeline create -p roll-back pipeline.yaml`), anyone who may start runs in the UI can go back.
"""

import sys

from kfp import compiler, dsl

from kfp_bert_components import deploy_to_serving_directory, rollback_model, use_images

# Change these. The first two are also parameters of the pipeline: a run can have other values.
REGISTRY = "gs://my-bucket/registry"  # of the models
SERVING_DIRECTORY = "gs://my-bucket/serving"  # a model server watches this folder
IMAGES = "my-registry/my-team"  # where a cluster pulls the images from: build them with `make images`
# Id and name of the run, for the registry's history.
RUN = {"run_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER, "run_name": dsl.PIPELINE_JOB_NAME_PLACEHOLDER}


@dsl.pipeline(name="roll-back")
def roll_back(
    reason: str, version: int = 0, registry: str = REGISTRY, serving_directory: str = SERVING_DIRECTORY
) -> None:
    """Make an older version champion again, and serve it.

    Args:
        reason: Reason, for the registry's history.
        version: The version to go back to; 0 for the champion before this one.
        registry: gs:// or s3:// URI, or folder, of the model registry.
        serving_directory: gs:// or s3:// URI, or folder, that the model server watches.
    """
    # If the pod is lost after it has moved the champion, the step is tried again, but it does not go back further.
    rolled_back = rollback_model(registry=registry, version=version, reason=reason, **RUN)
    rolled_back.set_caching_options(False).set_retry(2)
    # The last step of your training pipeline, with the same settings. It tests the version before it serves it.
    deploy_to_serving_directory(registry=registry, serving_directory=serving_directory).after(
        rolled_back
    ).set_caching_options(False)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} PIPELINE.yaml")
    compiler.Compiler().compile(use_images(roll_back, IMAGES), sys.argv[1])
