r"""One table predicted by many pods at once: each pod predicts a shard, and all pods write their parts to one folder.

Copy this file and change the lines below. On this machine the pipeline runs with

    kfp-bert run batch_predict.py:predict_a_table \
      -p table=lines.csv -p model=./registry/versions/3 -p output=./predicted

For a cluster, compile it with your images, and submit the file to Kubeflow Pipelines or to Vertex AI Pipelines:

    python batch_predict.py pipeline.yaml
    kfp-bert submit pipeline.yaml --host https://my-kubeflow/pipeline
    kfp-bert submit pipeline.yaml --project my-project --location europe-west4 --pipeline-root gs://my-bucket/runs
"""

import sys

from kfp import compiler, dsl

from kfp_bert_components import batch_predict, clean_up_run, use_images

# Change these. The first four are also parameters of the pipeline: a run can have other values.
TABLE = "gs://my-bucket/lines/*.csv"  # a file, a folder or a glob
MODEL = "gs://my-bucket/registry/versions/3"  # give a version, because the champion may change while the shards run
OUTPUT = "gs://my-bucket/predicted"  # the parts of all shards are in this folder, which is one data set
SETTINGS: dict = {}  # further parameters of batch_predict, such as {"output_format": "csv"}
SHARDS = 8  # number of shards of the table
PODS = 4  # number of pods that work at the same time
IMAGES = "my-registry/my-team"  # where a cluster pulls the images from: build them with `make images`


@dsl.pipeline(name="predict-a-table")
def predict_a_table(table: str = TABLE, model: str = MODEL, output: str = OUTPUT, settings: dict = SETTINGS) -> None:
    """Predict each row of a table."""
    # With run_on="ai_platform" in settings, jobs of AI Platform answer the texts. If the run fails or is terminated,
    # this step cancels them.
    over = clean_up_run(
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER, settings=settings
    ).set_caching_options(False)
    with dsl.ExitHandler(over), dsl.ParallelFor(list(range(SHARDS)), parallelism=PODS) as shard:
        step = batch_predict(
            table=table,
            model_uri=model,
            output=output,
            num_shards=SHARDS,
            shard_index=shard,
            settings=settings,
        )
        # The data at an address may change, so the step is not cached. If the step is tried again, it continues after
        # the last part in the folder.
        step.set_caching_options(False).set_retry(2)
        # Ask for what a pod needs: step.set_memory_limit("4G").set_cpu_limit("4")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} PIPELINE.yaml")
    compiler.Compiler().compile(use_images(predict_a_table, IMAGES), sys.argv[1])
