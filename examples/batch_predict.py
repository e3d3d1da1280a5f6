"""One table predicted by many pods at once, made of a component spec loaded by URL. Copy it and edit it.

    COMPONENT_SPECS=https://.../component_specs python batch_predict.py pipeline.yaml

writes the compiled pipeline, which then runs

  on a laptop:            kfp-bert run pipeline.yaml -p table=lines.csv -p model=./registry -p output=./predictions
  on Kubeflow:            kfp.Client().create_run_from_pipeline_package("pipeline.yaml", arguments={...})
  on Vertex AI Pipelines: aiplatform.PipelineJob(display_name="batch", template_path="pipeline.yaml", ...).submit()
"""

import os
import sys

from kfp import compiler, dsl
from kfp.components import load_component_from_url

# The folder component_specs/ of a release of kfp-bert-components: name a tag, so that your pipeline stays as it is.
SPECS = os.environ["COMPONENT_SPECS"]
# Into how many shards the table is divided, and how many pods work at the same time.
SHARDS = int(os.environ.get("SHARDS", "8"))
PODS = 4

batch_predict = load_component_from_url(f"{SPECS}/batch_predict/component.yaml")
clean_up_run = load_component_from_url(f"{SPECS}/clean_up_run/component.yaml")


@dsl.pipeline(name="predict-a-table")
def predict_a_table(table: str, model: str, output: str, settings: dict = {}):  # noqa: B006
    """Predict each row of a table; the parts of all shards are in one folder, which is one data set."""
    # With run_on="ai_platform" in settings, jobs of AI Platform answer the texts: none goes on when the run is over.
    over = clean_up_run(
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER, settings=settings
    ).set_caching_options(False)
    with dsl.ExitHandler(over), dsl.ParallelFor(list(range(SHARDS)), parallelism=PODS) as shard:
        step = batch_predict(
            table=table,
            # A version, such as gs://bucket/registry/versions/3: the champion may change while the shards run.
            model_uri=model,
            # A step that is tried again goes on after the last part that is in this folder.
            output=output,
            num_shards=SHARDS,
            shard_index=shard,
            settings=settings,
        )
        # What an address holds may change, so the step is not cached.
        step.set_caching_options(False).set_retry(2)
        # Ask for what a pod needs: step.set_memory_limit("4G").set_cpu_limit("4")


if __name__ == "__main__":
    compiler.Compiler().compile(predict_a_table, sys.argv[1])
