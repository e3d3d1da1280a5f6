"""A trial: training with one seed, which may be stopped and go on at any step."""

import math
import time
from dataclasses import dataclass

from kfp_bert_components.progress_bar import track
from kfp_bert_components.training.checkpoints import Checkpoints
from kfp_bert_components.training.diagnosis import check_finite
from kfp_bert_components.training.distribution import Distribution
from kfp_bert_components.training.events import EventLog
from kfp_bert_components.training.metrics import classification_metrics, is_better
from kfp_bert_components.training.preemption import Preempted, Sigterm
from kfp_bert_components.training.scoring import score
from kfp_bert_components.training.state import Best, RunState
from kfp_bert_components.training.trainer import Trainer, values_of


@dataclass
class Trial:
    """Trains from the step that `state` is at to the end of the trial.

    Attributes:
        name: What its progress lines begin with.
        part: The number of the trial, from 0, and how many there are.
        trainer: Trains the network.
        state: Progress of the run, which the trial takes over and moves on.
        metric: The metric that says which weights are best.
        patience: Evaluations without a better metric after which the trial ends; 0 never ends it early.
        distribution: The devices that train.
        checkpoints: Where checkpoints are written.
        events: Where losses, rates and metrics are logged.
        sigterm: Whether this process received SIGTERM.
    """

    name: str
    part: tuple[int, int]
    trainer: Trainer
    state: RunState
    metric: str
    patience: int
    distribution: Distribution
    checkpoints: Checkpoints
    events: EventLog
    sigterm: Sigterm

    def train(self) -> RunState:
        """Train until the trial is over.

        Returns:
            `state`, with the outcome of the trial and the best weights so far.

        Raises:
            NotFiniteError: A loss or gradient is infinite or NaN.
            Preempted: SIGTERM was received; a checkpoint is written.
        """
        state, schedule = self.state, self.trainer.schedule
        with track(schedule.rows * schedule.epochs, self.name, unit="examples", part=self.part) as bar:
            bar.initial = bar.n = self.trainer.rows_before(state.step)
            while True:
                if schedule.is_evaluated_after(state.step) and not state.evaluated:
                    self._evaluate()
                if outcome := self._outcome():
                    self._save()
                    state.outcomes.append(outcome)
                    return state
                bar.set_postfix_str(f"loss {self.train_step():.3f}", refresh=False)
                bar.update(self.trainer.rows_before(state.step) - bar.n)

    def train_step(self) -> float:
        """Train for one step; returns its loss."""
        state, started = self.state, time.monotonic()
        result = self.trainer.train_step(state.step, self.sigterm.received)
        state.step += 1
        state.curve.append((state.trial, state.step, result.loss, result.learning_rate, result.gradient_norm))
        check_finite(state.curve)
        state.examples += result.rows
        state.seconds += time.monotonic() - started
        logged = {"loss": result.loss, "learning_rate": result.learning_rate, "gradient_norm": result.gradient_norm}
        self.events.scalars(state.trial, state.step, logged)
        if result.stop:
            self._leave()
        self._save_if_due()
        return result.loss

    def _evaluate(self) -> None:
        """Score the validation rows, and keep the weights if they are the best so far."""
        state, metrics = self.state, self._measure()
        state.evaluations.append({"trial": state.trial, "step": state.step, "metrics": metrics})
        value = metrics.get(self.metric, math.nan)
        better = is_better(self.metric, value, state.best.value if state.best else None)
        if better or state.best is None:
            weights = [value.copy() for value in values_of(self.trainer.weights)]
            state.best = Best(state.trial, state.step, value, weights)
        self.events.scalars(state.trial, state.step, {f"validation/{name}": v for name, v in metrics.items()})
        self.events.flush()
        schedule = self.trainer.schedule
        print(
            f"epoch {state.step / schedule.steps_per_epoch:.3g} of {schedule.epochs}: "
            f"validation loss {metrics['loss']:.3f}, accuracy {metrics['accuracy']:.3f}, "
            f"macro F1 {metrics['macro_f1']:.3f}{' (best)' if better else ''}",
            flush=True,
        )

    def _measure(self) -> dict[str, float]:
        """Metrics on the validation rows, the same in all workers."""
        data, batch_size = self.trainer.data, 2 * self.trainer.schedule.batch_size
        logits = score(self.trainer.predict, data.validation, batch_size, len(data.labels), self._between_batches)
        metrics = classification_metrics(logits, data.validation.targets, data.labels)
        return dict(zip(metrics, self.distribution.from_chief(list(metrics.values())), strict=True))

    def _between_batches(self) -> None:
        # several workers must stop together, which they do at the end of a step
        if self.sigterm.received and self.distribution.workers == 1:
            self._leave()
        self._save_if_due()

    def _leave(self) -> None:
        self._save()
        self.checkpoints.wait()
        print(f"Told to stop (SIGTERM) after step {self.state.step}.", flush=True)
        raise Preempted

    def _save_if_due(self) -> None:
        if self.checkpoints.due(self.state):
            self._save()

    def _save(self) -> None:
        if self.distribution.chief:
            self.checkpoints.save(self.state, values_of(self.trainer.weights), values_of(self.trainer.moments))

    def _outcome(self) -> str:
        """How the trial ended; "" while it has not."""
        state = self.state
        if state.step >= self.trainer.schedule.steps:
            return "finished"
        if not state.evaluated:
            return ""
        if self.patience and state.evaluations_since_best(self.metric) >= self.patience:
            return "no better"
        return "hopeless" if state.below_median(self.metric) else ""
