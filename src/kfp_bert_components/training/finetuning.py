"""A whole run: read the splits, train with each seed, write the best weights and the report."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kfp_bert_components.bert import read_bundle, write_bundle
from kfp_bert_components.data.splits import read_split
from kfp_bert_components.errors import UserError
from kfp_bert_components.memory import memory_used, say_memory
from kfp_bert_components.plain import listed
from kfp_bert_components.quiet import quietly
from kfp_bert_components.storage import check_writable
from kfp_bert_components.training.checkpoints import Checkpoints, assign
from kfp_bert_components.training.distribution import Distribution, open_distribution
from kfp_bert_components.training.label_errors import find_label_errors
from kfp_bert_components.training.metrics import check_metric
from kfp_bert_components.training.needs import memory_needed
from kfp_bert_components.training.preemption import Sigterm
from kfp_bert_components.training.report import write_report
from kfp_bert_components.training.rows import TokenizedRows, TrainingData, read_data, read_texts
from kfp_bert_components.training.schedule import Schedule
from kfp_bert_components.training.scoring import score
from kfp_bert_components.training.settings import NetworkSettings, TrainingSettings
from kfp_bert_components.training.start import (
    check_servable,
    make_classifier,
    read_once,
    vocabulary_digest,
    weights_digest,
)
from kfp_bert_components.training.state import RunState
from kfp_bert_components.training.trainer import fusing_pays
from kfp_bert_components.training.trials import train_all
from kfp_bert_components.training.trimming import untrimmed, weight_after_decay


def finetune(train: Path, validation: Path, model: Path, report: Path, settings: TrainingSettings) -> dict[str, float]:
    """What `kfp_bert_components.training.finetune` does."""
    with quietly():
        distribution = open_distribution()
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    settings = settings.resolved()
    splits = read_split(train), read_split(validation)
    check_splits(*splits)
    check_metric(settings.metric, splits[0].labels)
    settings, note = with_measurable_metric(settings, *splits)
    if note and distribution.chief:
        print(note, flush=True)
    with Sigterm() as sigterm, read_once(settings.network) as network:
        with distribution.strategy.scope():
            classifier = make_classifier(network, splits[0], seed=settings.seed, dtype=settings.dtype)
        check_servable(classifier, splits[0], max_length=settings.max_length, truncation=settings.truncation)
        if distribution.chief:
            for parameter in ("checkpoint_dir", "tensorboard_dir"):
                if place := getattr(settings, parameter):
                    check_writable(place, parameter)
        data = read_data(
            classifier,
            *splits,
            max_length=settings.max_length,
            truncation=settings.truncation,
            weighting=settings.class_weights,
        )
        schedule = settings.schedule(len(data.train))
        _announce(settings, classifier.model.count_params(), data, schedule.steps, distribution)
        _say_memory(settings, classifier, data, schedule, distribution)
        checkpoints = _open_checkpoints(settings, splits, classifier, str(model.absolute()))
        with checkpoints.whole_at_the_end():
            with sigterm.noted():
                state = train_all(
                    settings, network, splits[0], classifier, data, schedule, distribution, checkpoints, sigterm
                )
            metrics = state.metrics(schedule.steps_per_epoch, settings.seed)
            if distribution.chief:
                classifier = _with_best_weights(
                    settings, network, splits[0], classifier, data.used, state, distribution
                )
                _write_bundle(model, classifier, settings, splits, train / "data_profile.json")
                write_report(
                    report,
                    parameters=settings.parameters(),
                    note=note,
                    steps_per_epoch=schedule.steps_per_epoch,
                    state=state,
                    metrics=metrics,
                    data=data,
                    model_fingerprint=read_bundle(model).fingerprint,
                    splits=splits,
                    keep_texts=settings.keep_texts == "all",
                    logits=_logits(classifier.model, data.validation, data.used, len(data.labels), settings.batch_size),
                    label_errors=find_label_errors(splits[0], settings, network) if settings.label_check_rows else None,
                )
                checkpoints.remove()
    return metrics


def check_splits(train: Any, validation: Any) -> None:
    """Check that two splits (`data.Split`) can be trained on and scored together.

    Raises:
        UserError: Their labels or columns differ, or they have one label only.
    """
    if train.labels != validation.labels or train.pair != validation.pair:
        raise UserError(
            f"The train split ({listed(train.labels)}) and the validation split "
            f"({listed(validation.labels)}) don't have the same labels and columns; make both in one "
            "run of prepare_text_data."
        )
    if len(train.labels) < 2:
        raise UserError(f"The train split has one label only ({listed(train.labels)}); at least two are needed.")


def with_measurable_metric(settings: TrainingSettings, train: Any, validation: Any) -> tuple[TrainingSettings, str]:
    """The settings, with the metric "loss" where validation lacks a label that train has (both are a `data.Split`).

    The other metrics are over fewer labels then, and can be perfect for weights that have learnt little.

    Returns:
        The settings, and a sentence that says why they were changed; "" where they were not.
    """
    trained, measured = (set(split.table.column("label").unique().to_pylist()) for split in (train, validation))
    lacking = [repr(label) for label in train.labels if label in trained - measured]
    if not lacking or settings.metric == "loss":
        return settings, ""
    more = f" and {len(lacking) - 5:,} more" if len(lacking) > 5 else ""
    note = (
        f"No validation row has the label {', '.join(lacking[:5])}{more}, which training rows have, so "
        f"{settings.metric} would not be over all labels: the weights with the lowest validation loss are kept instead."
    )
    return replace(settings, metric="loss"), note


def _announce(
    settings: TrainingSettings, weights: int, data: TrainingData, steps: int, distribution: Distribution
) -> None:
    devices = f"{distribution.replicas} devices of {distribution.workers} worker(s)"
    print(
        f"Training from {repr(settings.base_model) if settings.base_model else 'scratch'} ({weights:,} weights) on "
        f"{len(data.train):,} rows, {len(data.labels)} labels, {steps:,} steps of "
        f"{settings.batch_size * settings.accumulation_steps} rows, at most {data.train.lengths.max()} tokens, "
        f"{settings.precision}, {'1 device' if distribution.replicas == 1 else devices}.",
        flush=True,
    )


def _say_memory(
    settings: TrainingSettings, classifier: Any, data: TrainingData, schedule: Schedule, distribution: Distribution
) -> None:
    config, weights = classifier.config, classifier.model.count_params()
    untrained = 0 if data.used is None else (config.vocab_size - len(data.used)) * config.hidden_size
    needed = memory_needed(
        config,
        used=memory_used(),
        weights=weights,
        trained=weights - untrained,
        rows=-(-settings.batch_size // distribution.workers),
        tokens=int(data.train.lengths.max()),
        fused=fusing_pays(distribution, schedule),
        checkpoints=bool(settings.checkpoint_dir),
        accumulates=settings.accumulation_steps > 1,
        on_gpu=bool(tf.config.list_logical_devices("GPU")),
    )
    say_memory(needed, "give the step more memory, or a smaller batch_size or max_length")


def _open_checkpoints(settings: TrainingSettings, splits: tuple[Any, Any], classifier: Any, owner: str) -> Checkpoints:
    identity = {
        # Other files may lie at the same address, or another revision on the hub under the same name.
        "base_weights": weights_digest(classifier) if settings.base_model and settings.checkpoint_dir else "",
        "parameters": settings.parameters(),
        "train": splits[0].fingerprint,
        "validation": splits[1].fingerprint,
        "vocabulary": vocabulary_digest(classifier),
    }
    return Checkpoints(
        settings.checkpoint_dir, identity, owner, minutes=settings.checkpoint_minutes, steps=settings.checkpoint_steps
    )


def _with_best_weights(
    settings: TrainingSettings,
    network: NetworkSettings,
    split: Any,
    classifier: Any,
    used: np.ndarray | None,
    state: RunState,
    distribution: Distribution,
) -> Any:
    """A classifier in float32, on one device and with the whole vocabulary, that has the best weights."""
    best = state.best
    assert best is not None  # every trial ends with an evaluation
    values = best.weights
    if settings.precision != "float32" or distribution.replicas > 1 or used is not None:
        classifier = make_classifier(network, split, seed=settings.seed + best.trial, again=True)
    if used is not None:
        share = settings.layer_decay**classifier.config.num_hidden_layers  # that of the embeddings
        decay = weight_after_decay([rate * share for rate in state.rates_to_best()], settings.weight_decay)
        values = untrimmed(classifier.model, values, used, decay)
    assign(classifier.model.variables, values)
    return classifier


def _write_bundle(
    folder: Path, classifier: Any, settings: TrainingSettings, splits: tuple[Any, Any], data_profile: Path
) -> None:
    train = splits[0]
    texts, held_out = (_rows(*read_texts(split.table, split.pair)) for split in splits)
    write_bundle(
        folder,
        classifier,
        max_length=settings.max_length,
        base_model=settings.base_model,
        parameters=settings.parameters(),
        data_fingerprint=train.fingerprint,
        pair=train.pair,
        check_texts=[*texts, *held_out],
        held_out=held_out,
        truncation=settings.truncation,
        data_profile=data_profile,
        precision=settings.export_precision,
    )


def _rows(first: list[str], second: list[str] | None) -> list[Any]:
    """Texts, or tuples of two."""
    return first if second is None else list(zip(first, second, strict=True))


def _logits(model: Any, rows: TokenizedRows, used: np.ndarray | None, classes: int, batch_size: int) -> np.ndarray:
    """What a network with the whole vocabulary gives for rows whose tokens may be places in `used`."""
    if used is not None:
        rows = replace(rows, tokens=used[rows.tokens].astype(np.int32))
    network = tf.function(lambda inputs: model(inputs, training=False), autograph=False, reduce_retracing=True)

    def predict(inputs: dict[str, np.ndarray]) -> np.ndarray:
        return network({name: tf.constant(array) for name, array in inputs.items()}).numpy()

    return score(predict, rows, 2 * batch_size, classes)
