"""A pipeline with this package's steps, and others, in every place where KFP lets a step stand."""

from kfp import dsl

from kfp_bert_components import (
    compare_models,
    deploy_to_serving_directory,
    evaluate_model,
    finetune_bert,
    prepare_text_data,
    promote_model,
)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def say(text: str):
    print(text)


def somebody_elses():
    @dsl.component(base_image="python:3.11", install_kfp_package=False)
    def finetune_bert(epochs: int = 1):
        print(epochs)

    return finetune_bert


@dsl.pipeline
def trained(rates: list):
    data = dsl.importer(artifact_uri="gs://b/data", artifact_class=dsl.Dataset).output
    with dsl.ParallelFor(rates, parallelism=1) as rate:
        finetune_bert(train=data, validation=data, learning_rate=rate)


@dsl.pipeline(name="all-kinds")
def all_kinds(rates: list = [1e-5, 2e-5], deploy: bool = True):  # noqa: B006
    last = say(text="over")
    with dsl.ExitHandler(last):
        data = dsl.importer(artifact_uri="gs://b/data", artifact_class=dsl.Dataset).output
        prepare_text_data(data=data)
        trained(rates=rates)
        with dsl.If(deploy == True):  # noqa: E712
            model = dsl.importer(artifact_uri="gs://b/model", artifact_class=dsl.Model).output
            evaluate_model(model=model, test=data)
            compare = compare_models(candidate=model, champion=model)
            promote_model(model=model, evaluation=model, decision=compare.outputs["decision"], registry="gs://b/r")
            with dsl.ParallelFor(["one", "two"]) as target:
                deploy_to_serving_directory(registry="gs://b/r", serving_directory="gs://b/s", deployment_target=target)
        somebody_elses()()
