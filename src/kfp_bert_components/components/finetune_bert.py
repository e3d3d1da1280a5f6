"""The component that trains."""

from typing import Dict

from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from kfp_bert_components.components._images import tensorflow_component


@tensorflow_component
def finetune_bert(
    train: Input[Dataset],
    validation: Input[Dataset],
    model: Output[Model],
    metrics: Output[Metrics],
    report: Output[HTML],
    base_model: str = "",
    base_model_pin: str = "",
    epochs: int = 0,
    learning_rate: float = 0.0,
    batch_size: int = 32,
    max_length: int = 128,
    truncation: str = "head",
    seed: int = 0,
    weight_decay: float = 0.01,
    warmup: float = 0.1,
    max_gradient_norm: float = 1.0,
    layer_decay: float = 1.0,
    dropout: float = -1.0,
    class_weights: str = "none",
    label_smoothing: float = 0.0,
    accumulation_steps: int = 1,
    precision: str = "float32",
    export_precision: str = "float32",
    deterministic: bool = False,
    metric: str = "macro_f1",
    evaluations_per_epoch: int = 1,
    patience: int = 0,
    seeds: int = 1,
    vocabulary_size: int = 4000,
    layers: int = 3,
    width: int = 128,
    heads: int = 4,
    checkpoint_dir: str = "",
    checkpoint_minutes: float = 5.0,
    registry: str = "",
    tensorboard_dir: str = "",
    keep_texts: str = "all",
    label_check_rows: int = 0,
    run_on: str = "pod",
    job_image: str = "",
    job_project: str = "",
    job_location: str = "",
    job_staging: str = "",
    job_machine_type: str = "n1-standard-8",
    job_accelerator_type: str = "",
    job_accelerator_count: int = 0,
    job_replicas: int = 1,
    job_spot: bool = False,
    job_service_account: str = "",
    job_labels: Dict[str, str] = {},
    job_max_hours: float = 24.0,
    job_abandoned_minutes: float = 15.0,
    job_namespace: str = "",
    job_runtime: str = "",
    job_resources: Dict[str, str] = {},
    job_volumes: Dict[str, str] = {},
    job_api_endpoint: str = "",
    settings: Dict = {},
):
    """Fine-tune BERT on labelled text, keep the weights that did best on the validation split, and export
    them.

    Args:
        train: Split to train on, from prepare_text_data.
        validation: Split that says which weights are best, from the same run of prepare_text_data.
        base_model: Hugging Face BERT checkpoint to start from: a hub id, a gs:// or s3:// folder, or a local one.
            Empty: train a small BERT from scratch, with a vocabulary learned from the training text.
        base_model_pin: The output base_model_pin of pin_data. The step fails if the base model has changed since then.
            Default: none.
        epochs: Passes over the training rows. 0: 3 from a checkpoint, 10 from scratch.
        learning_rate: Highest learning rate of the schedule. 0: 5e-5 from a checkpoint, 1e-3 from scratch.
        batch_size: Rows in a batch, over all workers and devices together.
        max_length: Longest text in tokens, [CLS] and [SEP] included, up to 512.
        truncation: What stays of a longer text: head (its first tokens) or head_tail (a quarter from its
            head, the rest from its tail).
        seed: Seed of new weights, of the order of the rows, and of dropout.
        weight_decay: Decoupled decay of weight matrices (AdamW); biases and layer norms have none.
        warmup: Share of the steps in which the learning rate rises from 0; after them it falls linearly to 0.
        max_gradient_norm: Gradients with a larger norm are scaled down to this norm. 0: never.
        layer_decay: Learning rate of each layer as a multiple of the rate of the layer above, such as 0.95. 1: the same
            rate for all layers.
        dropout: Dropout of hidden states and attention. -1: the checkpoint's own.
        class_weights: none, or balanced: every class has the same total weight, even a rare class.
        label_smoothing: Share of the target that is spread over all classes.
        accumulation_steps: Batches whose gradients are added up before each step of the optimizer.
        precision: Type of the arithmetic: float32 or bfloat16. Weights stay float32.
        export_precision: Type of the weights that are served. float32 is served by ONNX Runtime (kfp-bert serve) and by
            TensorFlow (TensorFlow Serving, AI Platform's own container). bfloat16 is served by TensorFlow: the model is
            half as large, and faster on processors that compute in bfloat16. It is refused if a probability changes by
            more than 0.02. int8 is served by ONNX Runtime on x86-64: single texts are faster. It is refused if a
            probability changes by more than 0.1.
        deterministic: Whether each run gives the same bits on the same machine. Training is then slower, especially on
            a GPU.
        metric: Metric that says which weights are best: loss, accuracy, macro_f1, weighted_f1, mcc or f1:LABEL. If the
            validation split lacks a label of the training split, the loss is used.
        evaluations_per_epoch: How often in an epoch the validation split is scored.
        patience: Training stops after this number of evaluations without a better metric. 0: never.
        seeds: Number of training runs, with seed, seed + 1, ...; the best run is kept, and a run below the median of
            the earlier runs is stopped early.
        vocabulary_size: Largest vocabulary to learn when training from scratch.
        layers: Transformer layers when training from scratch.
        width: Hidden width when training from scratch, a multiple of heads.
        heads: Attention heads when training from scratch.
        checkpoint_dir: Local, gs:// or s3:// folder for checkpoints. A step that is started again with the same data
            and settings continues from the newest checkpoint. Empty: a folder beside the registry; without a registry,
            no checkpoints.
        checkpoint_minutes: Largest number of minutes of training that are lost if the step is killed. If writing a
            checkpoint takes longer than half of this time, up to twice the writing time is lost. Checkpoints are
            written a little more often than this.
        registry: Model registry. Without checkpoint_dir, checkpoints are kept beside the registry, in a folder with its
            name and "-checkpoints". The checkpoints of a job are in job_staging.
        tensorboard_dir: Local, gs:// or s3:// folder for TensorBoard event files. Empty: none are written.
        keep_texts: all, or ids, with which the report shows file and row of its examples instead of their texts.
        label_check_rows: Largest number of training rows whose labels are checked, such as 100000. The report lists the
            labels that are likely wrong. On a CPU, and from a checkpoint, the check takes about as long as half an
            epoch. 0: no check.
        run_on: pod: train in this step. ai_platform: train in a custom job of AI Platform. kubeflow: train in pods of
            the cluster, in a TrainJob of Kubeflow Trainer. This step starts and follows the job; the outputs are the
            same.
        job_image: With run_on ai_platform or kubeflow: name of this component's image, as the job can pull it.
        job_project: Id of the project that the job runs in, on AI Platform.
        job_location: Region that the job runs in, such as europe-west4, on AI Platform.
        job_staging: gs:// folder for the job's data and outputs. On kubeflow it can also be s3://, or a folder on a
            volume that this step and job_volumes mount at the same path.
        job_machine_type: Machine of each replica, on AI Platform.
        job_accelerator_type: Accelerator of each replica, such as NVIDIA_TESLA_T4, or nvidia.com/gpu on kubeflow.
            Empty: none.
        job_accelerator_count: Accelerators in each replica.
        job_replicas: Number of machines, or pods, that train together.
        job_spot: Whether to use spot machines of AI Platform: they are cheaper, and if a machine is taken away,
            training continues from its last checkpoint.
        job_service_account: E-mail of the account that the job runs as; on kubeflow the name of a service account.
            Empty: the default account.
        job_labels: Labels of the job.
        job_max_hours: Longest time in hours that the job may run.
        job_abandoned_minutes: If no step has waited for the job for this number of minutes, the job writes a checkpoint
            and ends. No step waits if the step's pod was killed and no other step took over the job. 0: never. Default:
            15.
        job_namespace: Namespace of the job, on kubeflow. Empty: the namespace of this step.
        job_runtime: On kubeflow: name of a TrainingRuntime, or ClusterTrainingRuntime/NAME. Empty: kfp-bert, which is
            created if it does not exist.
        job_resources: Resources that each pod requests on kubeflow, such as {"cpu": "4", "memory": "8Gi"}. Default:
            nothing.
        job_volumes: PersistentVolumeClaims that the pods mount on kubeflow, each with its path: {"claim": "/mnt/data"}.
            Default: none.
        job_api_endpoint: Another address of the API. http:// is allowed only on this machine, for tests.
        settings: Values for the parameters above by name, such as {"patience": 3, "run_on": "ai_platform"}; they win
            over the parameters. So a pipeline can set parameters of this step that the pipeline itself does not have.

    Returns:
        model: Model bundle: model.onnx and a SavedModel that takes text, the Hugging Face checkpoint, and bundle.json.
        metrics: Metrics of the kept weights on the validation split, training loss, steps and speed.
        report: Loss, metric and learning rate curves, label counts, and the hardest examples.
    """
    import json
    from pathlib import Path

    from kfp_bert_components.components._task import remember_stores
    from kfp_bert_components.origin import here
    from kfp_bert_components.steps.artifact_metadata import of_model
    from kfp_bert_components.steps.finetune_bert import finetune_bert
    from kfp_bert_components.training import TrainingSettings
    from kfp_bert_components.validation import with_further

    remember_stores(train)
    values = with_further(
        settings,
        base_model=base_model,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        max_length=max_length,
        truncation=truncation,
        seed=seed,
        weight_decay=weight_decay,
        warmup=warmup,
        max_gradient_norm=max_gradient_norm,
        layer_decay=layer_decay,
        dropout=dropout,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        accumulation_steps=accumulation_steps,
        precision=precision,
        export_precision=export_precision,
        deterministic=deterministic,
        metric=metric,
        evaluations_per_epoch=evaluations_per_epoch,
        patience=patience,
        seeds=seeds,
        vocabulary_size=vocabulary_size,
        layers=layers,
        width=width,
        heads=heads,
        checkpoint_dir=checkpoint_dir,
        checkpoint_minutes=checkpoint_minutes,
        registry=registry,
        tensorboard_dir=tensorboard_dir,
        keep_texts=keep_texts,
        label_check_rows=label_check_rows,
        run_on=run_on,
        job_image=job_image,
        job_project=job_project,
        job_location=job_location,
        job_staging=job_staging,
        job_machine_type=job_machine_type,
        job_accelerator_type=job_accelerator_type,
        job_accelerator_count=job_accelerator_count,
        job_replicas=job_replicas,
        job_spot=job_spot,
        job_service_account=job_service_account,
        job_labels=job_labels,
        job_max_hours=job_max_hours,
        job_abandoned_minutes=job_abandoned_minutes,
        job_namespace=job_namespace,
        job_runtime=job_runtime,
        job_resources=job_resources,
        job_volumes=job_volumes,
        job_api_endpoint=job_api_endpoint,
    )
    job = {name: values.pop(name) for name in list(values) if name.startswith("job_")}
    job["run"] = here(model.uri).label
    found = finetune_bert(
        Path(train.path),
        Path(validation.path),
        Path(model.path),
        Path(report.path),
        base_model_pin=base_model_pin,
        run_on=values.pop("run_on"),
        registry=values.pop("registry"),
        settings=TrainingSettings(**values),
        **{name.removeprefix("job_"): value for name, value in job.items()},
    )
    for name, value in found.items():
        metrics.log_metric(name, value)
    Path(metrics.path).write_text(json.dumps(found, indent=1))
    model.metadata.update(of_model(Path(model.path), found))
