"""A whole run: read the splits, train with each seed, write the best model and the report."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow as tf

from kfp_bert_components.data import read_split
from kfp_bert_components.errors import UserError
from kfp_bert_components.training import compact
from kfp_bert_components.training.batches import bucket_limits
from kfp_bert_components.training.checkpoints import Checkpoints
from kfp_bert_components.training.distribution import Distribution, open_distribution
from kfp_bert_components.training.events import EventLog
from kfp_bert_components.training.examples import check_texts, class_weights, tokenize_split
from kfp_bert_components.training.loop import Run, Trial
from kfp_bert_components.training.metrics import check_metric
from kfp_bert_components.training.optimizer import AdamW, decays, layer_rates
from kfp_bert_components.training.preemption import Sigterm
from kfp_bert_components.training.settings import TrainingSettings
from kfp_bert_components.training.start import make_classifier, model_dtype, vocabulary_digest
from kfp_bert_components.training.state import RunState
from kfp_bert_components.training.step import Step

# Batches in a trial from which `bert.fused` pays on a MiniLM: it compiles for as long as it gains in some 200 of them.
# On a much smaller network it takes some 1,300.
FUSED_FROM = 500


def run(train: Path, validation: Path, model: Path, report: Path, settings: TrainingSettings) -> dict[str, float]:
    """What `kfp_bert_components.training.finetune` does."""
    distribution = open_distribution()
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    settings = settings.resolved()
    splits = read_split(train), read_split(validation)
    _check_splits(*splits)
    check_metric(settings.metric, splits[0].labels)
    with Sigterm() as sigterm:
        job, classifier = _prepare(splits, settings, distribution, sigterm)
        _train_all(job, splits[0], classifier)
        job.events.close()
        metrics = _metrics(job)
        if distribution.chief:
            _write(job, splits, classifier, train / "data_profile.json", model, report, metrics)
            job.checkpoints.remove()
    return metrics


def _check_splits(train: Any, validation: Any) -> None:
    if train.labels != validation.labels or train.pair != validation.pair:
        raise UserError(
            f"The train split ({', '.join(train.labels)}) and the validation split "
            f"({', '.join(validation.labels)}) don't have the same labels and columns; make both in one "
            "run of prepare_text_data."
        )
    if len(train.labels) < 2:
        raise UserError(f"The train split has one label only ({', '.join(train.labels)}); at least two are needed.")


def _prepare(splits: Any, settings: TrainingSettings, distribution: Distribution, sigterm: Sigterm) -> Any:
    """The run before its first step, and the classifier that it trains first."""
    with distribution.strategy.scope():
        classifier = make_classifier(settings, splits[0], seed=settings.seed)
    examples = [tokenize_split(classifier, split, settings.max_length, settings.truncation) for split in splits]
    used = compact.used_tokens(classifier.config.vocab_size, *examples)
    if used is not None:
        examples = [compact.renumber(part, used) for part in examples]
    identity = {
        "parameters": settings.parameters(),
        "train": splits[0].fingerprint,
        "validation": splits[1].fingerprint,
        "vocabulary": vocabulary_digest(classifier),
    }
    checkpoints = Checkpoints(
        settings.checkpoint_dir,
        identity,
        minutes=settings.checkpoint_minutes,
        steps=settings.checkpoint_steps,
    )
    job = Run(
        settings=settings,
        train=examples[0],
        validation=examples[1],
        labels=splits[0].labels,
        class_weights=class_weights(settings.class_weights, examples[0].targets, len(splits[0].labels)),
        limits=bucket_limits(examples[0].lengths),
        distribution=distribution,
        checkpoints=checkpoints,
        events=EventLog(settings.tensorboard_dir if distribution.chief else ""),
        sigterm=sigterm,
        state=RunState(),
        used=used,
    )
    _announce(job, classifier)
    return job, classifier


def _train_all(job: Run, split: Any, classifier: Any) -> None:
    """All trials that are left; the best weights are in the state then."""
    settings, state = job.settings, job.state
    restored = job.checkpoints.restore()
    if restored is not None:
        state.__dict__.update(restored.state.__dict__)
        print(
            f"Going on from the checkpoint of seed {settings.seed + state.trial} at step {state.step}.",
            flush=True,
        )
    _agree_on_start(job, classifier)
    while True:
        classifier = _shrunk(job, classifier)
        step = _make_step(classifier, job)
        if restored is not None:
            _assign(classifier.model.variables, restored.weights)
            _assign(step.variables, restored.others)
            restored = None
        Trial(job, classifier.model, step).train()
        if len(state.outcomes) == settings.seeds:
            return
        state.trial, state.step = state.trial + 1, 0
        with job.distribution.strategy.scope():
            classifier = make_classifier(settings, split, seed=settings.seed + state.trial)


def _shrunk(job: Run, classifier: Any) -> Any:
    """The classifier without the words that occur nowhere, where that pays."""
    if job.used is None:
        return classifier
    with job.distribution.strategy.scope():
        seed = job.settings.seed + job.state.trial
        return compact.shrink(classifier, job.used, seed, model_dtype(job.settings))


def _make_step(classifier: Any, job: Run) -> Step:
    classifier.model.fuse(_fusing_pays(job))
    settings, variables = job.settings, classifier.model.trainable_variables
    paths = [variable.path for variable in variables]
    with job.distribution.strategy.scope():
        optimizer = AdamW(
            [variable.value for variable in variables],
            layer_rates(paths, classifier.config.num_hidden_layers, settings.layer_decay),
            [decays(path) for path in paths],
            weight_decay=settings.weight_decay,
            epsilon=settings.epsilon,
        )
        return Step(
            classifier.model,
            optimizer,
            job.distribution,
            label_smoothing=settings.label_smoothing,
            max_gradient_norm=settings.max_gradient_norm,
        )


def _fusing_pays(job: Run) -> bool:
    one_cpu = job.distribution.replicas == job.distribution.workers and not tf.config.list_logical_devices("GPU")
    return one_cpu and job.steps * job.settings.accumulation_steps >= FUSED_FROM


def _assign(variables: Any, values: Any) -> None:
    if [tuple(variable.shape) for variable in variables] != [value.shape for value in values]:
        raise UserError(
            "The newest checkpoint of this run holds other weights than this version of the package trains; remove it "
            "from checkpoint_dir, or go on with the version that wrote it."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _agree_on_start(job: Run, classifier: Any) -> None:
    """All workers must have read the same checkpoint, and must mean the same by a token."""
    if job.distribution.workers == 1:
        return
    mine = [float(job.state.trial), float(job.state.step), float(int(vocabulary_digest(classifier)[:8], 16))]
    chief = job.distribution.from_chief(mine)
    if chief[:2] != mine[:2]:
        raise UserError(
            f"This worker doesn't see the chief's checkpoint in {job.settings.checkpoint_dir!r}; give a "
            "folder that all workers share, such as gs://."
        )
    if chief[2] != mine[2]:
        raise UserError("This worker has another vocabulary than the chief; give all workers the same base_model.")


def _announce(job: Run, classifier: Any) -> None:
    settings, devices = job.settings, job.distribution
    where = "1 device" if devices.replicas == 1 else f"{devices.replicas} devices of {devices.workers} worker(s)"
    start = repr(settings.base_model) if settings.base_model else "scratch"
    print(
        f"Training from {start} ({classifier.model.count_params():,} weights) on {len(job.train):,} rows, "
        f"{len(job.labels)} labels, {job.steps:,} steps of "
        f"{settings.batch_size * settings.accumulation_steps} rows, "
        f"at most {job.limits[-1]} tokens, {settings.precision}, {where}.",
        flush=True,
    )


def _metrics(job: Run) -> dict[str, float]:
    """What the step hands out, without anything that is not a finite number."""
    state, best = job.state, job.state.best
    assert best is not None  # every trial ends with an evaluation
    kept = next(e for e in state.evaluations if (e["trial"], e["step"]) == (best.trial, best.step))
    last = [row[2] for row in state.curve if row[0] == state.curve[-1][0]][-job.steps_per_epoch :]
    metrics = {f"validation_{name}": value for name, value in kept["metrics"].items() if ":" not in name}
    metrics |= {
        "train_loss": sum(last) / len(last),
        "best_step": best.step,
        "best_seed": job.settings.seed + best.trial,
        "steps": len(state.curve),
        "epochs_trained": len(state.curve) / job.steps_per_epoch,
        "seconds": state.seconds,
        "examples_per_second": state.examples / max(state.seconds, 1e-9),
    }
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def _write(
    job: Run, splits: Any, classifier: Any, data_profile: Path, model: Path, report: Path, metrics: dict[str, float]
) -> None:
    """The bundle of the best weights, and the report."""
    from kfp_bert_components.bert import write_bundle
    from kfp_bert_components.training.report import write_report

    settings, best, validation = job.settings, job.state.best, job.validation
    assert best is not None
    values = best.weights
    if settings.precision != "float32" or job.distribution.replicas > 1 or job.used is not None:
        classifier = make_classifier(replace(settings, precision="float32"), splits[0], seed=settings.seed + best.trial)
    if job.used is not None:
        decay = _left_by_decay(job, classifier.config.num_hidden_layers)
        values = compact.expand(classifier.model, values, job.used, decay)
        validation = replace(validation, tokens=job.used[validation.tokens].astype("int32"))
    _assign(classifier.model.variables, values)
    write_bundle(
        model,
        classifier,
        max_length=settings.max_length,
        base_model=settings.base_model,
        parameters=settings.parameters(),
        data_fingerprint=splits[0].fingerprint,
        pair=splits[0].pair,
        check_texts=[text for split in splits for text in check_texts(split)],
        truncation=settings.truncation,
        data_profile=data_profile,
        precision=settings.export_precision,
    )
    write_report(job, classifier, validation, metrics, report)


def _left_by_decay(job: Run, layers: int) -> float:
    """What is left, at the kept step, of an embedding that only decays."""
    best, settings = job.state.best, job.settings
    assert best is not None
    rate = settings.layer_decay**layers
    return math.prod(
        1 - row[3] * rate * settings.weight_decay
        for row in job.state.curve
        if row[0] == best.trial and row[1] <= best.step
    )
