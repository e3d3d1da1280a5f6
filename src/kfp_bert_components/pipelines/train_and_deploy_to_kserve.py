"""The main pipeline with an InferenceService of KServe at its end."""

from typing import Dict, List

from kfp import dsl

from kfp_bert_components import deploy_to_kserve
from kfp_bert_components.pipelines.train_and_promote import RUN, clean_up, train_and_promote


@dsl.pipeline(name="train-and-deploy-to-kserve")
def train_and_deploy_to_kserve(
    sources: List[str],
    registry: str,
    name: str,
    namespace: str,
    storage: str = "",
    image: str = "",
    service_account: str = "",
    text_column: str = "text",
    label_column: str = "label",
    label_names: Dict[str, str] = {},
    header: str = "auto",
    split_by: str = "text",
    split_column: str = "",
    test_values: List[str] = [],
    test_fraction: float = 0.1,
    base_model: str = "",
    epochs: int = 0,
    learning_rate: float = 0.0,
    batch_size: int = 32,
    max_length: int = 128,
    seed: int = 0,
    evidence_by: str = "text",
    primary_metric: str = "macro_f1",
    min_improvement: float = 0.0,
    alpha: float = 0.05,
    policy: str = "",
    allow_new_labels: bool = False,
    keep_texts: str = "all",
    prepare: Dict = {},
    training: Dict = {},
    mirror_to: List[str] = [],
    deployment_target: str = "production",
    api_endpoint: str = "",
):
    """Fine-tune BERT on labelled text and let KServe serve the new model only if it is better than the champion.

    Args:
        sources: Files, folders or globs with the labelled text, gs://, s3:// or local.
        registry: Address of the model registry: gs://, s3:// or a folder.
        name: Name of the InferenceService.
        namespace: Namespace of the InferenceService.
        storage: Address of the registry as KServe reaches it, such as pvc://CLAIM/FOLDER; "": the registry's address.
        image: Name of the serve image, as the cluster pulls it.
        service_account: Service account of the pods that serve; "" for the default account.
        text_column: Column with the text.
        label_column: Column with the label.
        label_names: Names of the labels, by the value in the label column.
        header: auto, yes or no: whether the first row of a CSV file names the columns.
        split_by: What decides the split of a row: text (a hash of it), file, column or group.
        split_column: With split_by column or group: the column that decides the split.
        test_values: With split_by file: patterns of the names of the test files. With column or group: values of that
            column.
        test_fraction: Share of the texts or groups that go to test, if test_values is empty.
        base_model: Hugging Face checkpoint to start from (hub id, gs://, s3:// or folder); "" trains a small model.
        epochs: Passes over the training split. 0: 3 from a checkpoint, 10 from scratch.
        learning_rate: Peak learning rate. 0: 5e-5 from a checkpoint, 1e-3 from scratch.
        batch_size: Number of examples in each training step.
        max_length: Longest text in tokens, [CLS] and [SEP] included.
        seed: Seed of all random numbers.
        evidence_by: What counts as one piece of evidence: text (copies of a text are one), row, or a metadata column.
        primary_metric: Metric that must improve.
        min_improvement: Improvement of the primary metric that must be shown.
        alpha: Probability of promoting a model that is no better.
        policy: YAML policy with guardrails and thresholds: its text, or the address of its file; "" for none.
        allow_new_labels: Compare even if the champion knows few of the labels, or spells them differently.
        keep_texts: all, or ids, which leaves the texts of the data out of evaluations, registry and pages.
        prepare: Further parameters of prepare_text_data by name, such as {"delimiter": ";"}; they win over the
            parameters here.
        training: Further parameters of finetune_bert by name, such as {"patience": 3}; they win over the parameters
            here.
        mirror_to: Registries of other systems to tell of the champion, such as mlflow+https://HOST; see promote_model.
        deployment_target: Name of the deployment record in the registry.
        api_endpoint: Another address of the API, for tests.
    """
    with dsl.ExitHandler(clean_up(registry, deployment_target, training)):
        promotion = train_and_promote(
            sources=sources,
            registry=registry,
            deployment_target=deployment_target,
            data={
                "text_column": text_column,
                "label_column": label_column,
                "label_names": label_names,
                "header": header,
                "split_by": split_by,
                "split_column": split_column,
                "test_values": test_values,
                "test_fraction": test_fraction,
                "max_length": max_length,
                "settings": prepare,
            },
            training={
                "base_model": base_model,
                "epochs": epochs,
                "learning_rate": learning_rate,
                "batch_size": batch_size,
                "max_length": max_length,
                "seed": seed,
                "settings": training,
            },
            evidence_by=evidence_by,
            gate={
                "primary_metric": primary_metric,
                "min_improvement": min_improvement,
                "alpha": alpha,
                "policy": policy,
                "allow_new_labels": allow_new_labels,
            },
            keep_texts=keep_texts,
            mirror_to=mirror_to,
        )
        # This step always runs, as in train_and_deploy: it does nothing if the champion is live.
        deploy_to_kserve(
            registry=registry,
            name=name,
            namespace=namespace,
            storage=storage,
            image=image,
            service_account=service_account,
            deployment_target=deployment_target,
            api_endpoint=api_endpoint,
            **RUN,
        ).after(promotion).set_caching_options(False)
