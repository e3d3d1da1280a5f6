"""The loop of one trial: a model is trained with one seed, and may stop and go on at any step."""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from kfp_bert_components.progress import track
from kfp_bert_components.training.batches import Batch, plan_epoch
from kfp_bert_components.training.checkpoints import Checkpoints
from kfp_bert_components.training.diagnosis import check_finite
from kfp_bert_components.training.distribution import Distribution
from kfp_bert_components.training.events import EventLog
from kfp_bert_components.training.examples import Examples, with_weights
from kfp_bert_components.training.metrics import classification_metrics, is_better
from kfp_bert_components.training.preemption import Preempted, Sigterm
from kfp_bert_components.training.schedule import learning_rate
from kfp_bert_components.training.scoring import score
from kfp_bert_components.training.settings import TrainingSettings
from kfp_bert_components.training.state import Best, RunState
from kfp_bert_components.training.step import Step


@dataclass(frozen=True)
class Run:
    """What stays the same over all trials of a run.

    Attributes:
        used: Token ids that occur in the rows, where the rows are in ids of that list; see `compact`.
    """

    settings: TrainingSettings
    train: Examples
    validation: Examples
    labels: list[str]
    class_weights: np.ndarray
    limits: tuple[int, ...]
    distribution: Distribution
    checkpoints: Checkpoints
    events: EventLog
    sigterm: Sigterm
    state: RunState
    used: np.ndarray | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the optimizer in one pass over the training rows."""
        batches = math.ceil(len(self.train) / self.settings.batch_size)
        return math.ceil(batches / self.settings.accumulation_steps)

    @property
    def steps(self) -> int:
        """Steps of a whole trial."""
        return self.steps_per_epoch * self.settings.epochs

    def evaluated_at(self, step: int) -> bool:
        """Whether the validation rows are scored after this many steps."""
        within, times = (step - 1) % self.steps_per_epoch + 1, self.settings.evaluations_per_epoch
        return step > 0 and any(within == round(self.steps_per_epoch * k / times) for k in range(1, times + 1))


class Trial:
    """Training with one seed.

    Args:
        run: What all trials share; its `state` says at which step this one starts, and is moved on.
        model: The Keras model to train.
        step: What trains it.
    """

    def __init__(self, run: Run, model: Any, step: Step) -> None:
        self.run, self.model, self.step = run, model, step
        self._epoch = -1
        self._plan: list[list[Batch]] = []

    def train(self) -> None:
        """Train to the end, or until there is no more to gain; the best weights go to the run's state."""
        run, state = self.run, self.run.state
        name = "training"
        if run.settings.seeds > 1:
            name += f" seed {state.trial + 1} of {run.settings.seeds}"
        with track(len(run.train) * run.settings.epochs, name, unit="examples") as bar:
            bar.initial = bar.n = self._rows_done()
            while True:
                if run.evaluated_at(state.step) and not self._evaluated():
                    self._evaluate()
                    self.save()
                if outcome := self._outcome():
                    state.outcomes.append(outcome)
                    return
                bar.set_postfix_str(f"loss {self._one_step():.3f}", refresh=False)
                bar.update(self._rows_done() - bar.n)

    def save(self) -> None:
        """Write a checkpoint; only the chief does."""
        if self.run.distribution.chief:
            self.run.checkpoints.save(self.run.state, self.model.variables, self.step.variables)

    def _one_step(self) -> float:
        run, state, settings = self.run, self.run.state, self.run.settings
        started = time.monotonic()
        batches = self._batches(state.step)
        rate = learning_rate(state.step, run.steps, settings.learning_rate, settings.warmup)
        rows = with_weights(run.train, batches, run.class_weights)
        with run.distribution.watching(state.step, bool(settings.checkpoint_dir)):
            loss, norm, stop = self.step.train(rows, rate, state.step + 1, run.sigterm.received)
        state.step += 1
        state.curve.append((state.trial, state.step, loss, rate, norm))
        check_finite(state.curve, settings)
        state.examples += sum(len(batch.rows) for batch in batches)
        state.seconds += time.monotonic() - started
        run.events.scalars(state.trial, state.step, {"loss": loss, "learning_rate": rate, "gradient_norm": norm})
        if stop:
            self._leave()
        if run.checkpoints.due(state.step):
            self.save()
        return loss

    def _evaluate(self) -> None:
        run, state = self.run, self.run.state
        measured = classification_metrics(self.predict(run.validation), run.validation.targets, run.labels)
        with run.distribution.watching(state.step, bool(run.settings.checkpoint_dir)):
            shared = run.distribution.from_chief(list(measured.values()))
        metrics = dict(zip(measured, shared, strict=True))
        state.evaluations.append({"trial": state.trial, "step": state.step, "metrics": metrics})
        value = metrics.get(run.settings.metric, math.nan)
        better = is_better(run.settings.metric, value, state.best.value if state.best else None)
        if better or state.best is None:
            weights = [np.array(variable.numpy()) for variable in self.model.variables]
            state.best = Best(state.trial, state.step, value, weights)
        run.events.scalars(state.trial, state.step, {f"validation/{name}": v for name, v in metrics.items()})
        run.events.flush()
        epoch = state.step / run.steps_per_epoch
        print(
            f"epoch {epoch:.3g} of {run.settings.epochs}: validation loss {metrics['loss']:.3f}, "
            f"accuracy {metrics['accuracy']:.3f}, macro F1 {metrics['macro_f1']:.3f}"
            f"{' (best)' if better else ''}",
            flush=True,
        )

    def predict(self, examples: Examples) -> np.ndarray:
        """Logits of all rows without dropout, float32 [rows, classes]."""

        def leave_if_told() -> None:
            # several workers stop together, at the end of a step
            if self.run.sigterm.received and self.run.distribution.workers == 1:
                self._leave()

        return score(self.step.predict, examples, 2 * self.run.settings.batch_size, len(self.run.labels), leave_if_told)

    def _leave(self) -> None:
        self.save()
        print(f"Told to stop (SIGTERM) after step {self.run.state.step}.", flush=True)
        raise Preempted

    def _outcome(self) -> str:
        run, state = self.run, self.run.state
        if state.step >= run.steps:
            return "finished"
        if not self._evaluated():
            return ""
        if run.settings.patience and state.since_best(run.settings.metric) >= run.settings.patience:
            return "no better"
        return "hopeless" if state.hopeless(run.settings.metric) else ""

    def _evaluated(self) -> bool:
        state = self.run.state
        last = state.evaluations[-1] if state.evaluations else {}
        return (last.get("trial"), last.get("step")) == (state.trial, state.step)

    def _batches(self, step: int) -> list[Batch]:
        """The batches of a step: the same whenever they are asked for."""
        run, group = self.run, self.run.settings.accumulation_steps
        epoch = step // run.steps_per_epoch
        if epoch != self._epoch:
            rng = np.random.default_rng([run.settings.seed + run.state.trial, epoch])
            plan = plan_epoch(run.train.lengths, run.settings.batch_size, run.limits, rng)
            self._plan = [plan[start : start + group] for start in range(0, len(plan), group)]
            self._epoch = epoch
        return self._plan[step % run.steps_per_epoch]

    def _rows_done(self) -> int:
        step, per_epoch = self.run.state.step, self.run.steps_per_epoch
        if not step:
            return 0
        self._batches(step - 1)
        done = sum(len(batch.rows) for group in self._plan[: (step - 1) % per_epoch + 1] for batch in group)
        return (step - 1) // per_epoch * len(self.run.train) + done
