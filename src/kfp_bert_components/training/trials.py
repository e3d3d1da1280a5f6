"""The trials of a run, one after the other: one for each seed."""

from typing import Any

from kfp_bert_components.errors import UserError
from kfp_bert_components.training.checkpoints import Checkpoints, assign
from kfp_bert_components.training.diagnosis import NotFiniteError, explain
from kfp_bert_components.training.distribution import Distribution
from kfp_bert_components.training.events import EventLog
from kfp_bert_components.training.preemption import Sigterm
from kfp_bert_components.training.rows import TrainingData
from kfp_bert_components.training.schedule import Schedule
from kfp_bert_components.training.settings import NetworkSettings, TrainingSettings
from kfp_bert_components.training.start import make_classifier, vocabulary_digest
from kfp_bert_components.training.state import RunState
from kfp_bert_components.training.trainer import make_trainer
from kfp_bert_components.training.trial import Trial


def train_all(
    settings: TrainingSettings,
    network: NetworkSettings,
    split: Any,
    classifier: Any,
    data: TrainingData,
    schedule: Schedule,
    distribution: Distribution,
    checkpoints: Checkpoints,
    sigterm: Sigterm,
) -> RunState:
    """Run all trials, or those that the newest checkpoint leaves to do.

    Args:
        settings: The run's settings, resolved.
        network: From `start.read_once`.
        split: The `data.Split` to train on, of which each trial makes its network.
        classifier: The `bert.Classifier` that the first of these trials trains.
        data: The rows.
        schedule: The steps of each trial.
        distribution: The devices that train.
        checkpoints: Where the run goes on from, and writes checkpoints.
        sigterm: Whether this process received SIGTERM.

    Returns:
        The progress of the run, with the best weights of all trials.

    Raises:
        UserError: A loss or gradient is not finite, or the newest checkpoint can't be used.
        WorkerLostError: Another worker is gone.
        Preempted: SIGTERM was received.
    """
    restored = checkpoints.restore()
    state = restored.state if restored else RunState()
    if restored:
        print(f"Going on from the checkpoint of seed {settings.seed + state.trial} at step {state.step}.", flush=True)
    if distribution.workers > 1:
        _agree_on_start(distribution, state, vocabulary_digest(classifier), settings.checkpoint_dir)
    events = EventLog(settings.tensorboard_dir if distribution.chief else "")
    while True:
        seed = settings.seed + state.trial
        trainer = make_trainer(classifier, data, schedule, settings.optimizer, distribution, seed)
        if restored:
            assign(trainer.weights, restored.weights)
            assign(trainer.moments, restored.moments)
            restored = None
        trial = Trial(
            name="training" + (f" seed {state.trial + 1} of {settings.seeds}" if settings.seeds > 1 else ""),
            part=(state.trial, settings.seeds),
            trainer=trainer,
            state=state,
            metric=settings.metric,
            patience=settings.patience,
            distribution=distribution,
            checkpoints=checkpoints,
            events=events,
            sigterm=sigterm,
        )
        state = _run(trial, settings)
        if len(state.outcomes) == settings.seeds:
            events.close()
            return state
        state.trial, state.step = state.trial + 1, 0
        with distribution.strategy.scope():
            classifier = make_classifier(
                network, split, seed=settings.seed + state.trial, dtype=settings.dtype, again=True
            )


def _agree_on_start(distribution: Distribution, state: RunState, vocabulary: str, checkpoint_dir: str) -> None:
    """All workers must have read the same checkpoint, and must mean the same by a token id."""
    mine = [float(state.trial), float(state.step), float(int(vocabulary[:8], 16))]
    chief = distribution.from_chief(mine)
    if chief[:2] != mine[:2]:
        raise UserError(
            f"This worker doesn't see the chief's checkpoint in {checkpoint_dir!r}; give a folder that all workers "
            "share, such as gs://."
        )
    if chief[2] != mine[2]:
        raise UserError("This worker has another vocabulary than the chief; give all workers the same base_model.")


def _run(trial: Trial, settings: TrainingSettings) -> RunState:
    """Run a trial, with errors that say what to do."""
    resumable = bool(settings.checkpoint_dir)
    try:
        with trial.distribution.naming_lost_workers(lambda: trial.state.step, resumable):
            return trial.train()
    except NotFiniteError:
        cause = explain(
            trial.state.curve,
            base_model=settings.base_model,
            precision=settings.precision,
            learning_rate=settings.learning_rate,
            max_gradient_norm=settings.max_gradient_norm,
        )
        raise UserError(cause) from None
