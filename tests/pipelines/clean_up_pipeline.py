"""Training in a job of AI Platform, with the exit handler of the ready pipelines."""

from kfp import dsl

from kfp_bert_components import finetune_bert
from kfp_bert_components.pipelines.train_and_promote import clean_up


@dsl.pipeline(name="train-in-a-job")
def train_in_a_job(train: str, validation: str, registry: str, training: dict):
    """Train in a job; whatever happens, no job goes on afterwards."""
    with dsl.ExitHandler(clean_up(registry, "production", training)):
        finetune_bert(
            train=dsl.importer(artifact_uri=train, artifact_class=dsl.Dataset).output,
            validation=dsl.importer(artifact_uri=validation, artifact_class=dsl.Dataset).output,
            settings=training,
        )
