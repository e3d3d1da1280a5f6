"""Our training steps without evaluation, checkpoints and export: epoch after epoch on the same rows."""

from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from kfp_bert_components.training import TrainingSettings
from kfp_bert_components.training.distribution import open_distribution
from kfp_bert_components.training.rows import read_data
from kfp_bert_components.training.start import make_classifier
from kfp_bert_components.training.trainer import make_trainer


class Epochs:
    """One model that goes on training, an epoch at a time.

    Args:
        job: base_model, labels, train (text and class), settings.
        changes: Settings that differ from the job's.
    """

    def __init__(self, job: dict[str, Any], **changes: Any) -> None:
        texts, targets = zip(*job["train"], strict=True)
        labels = [job["labels"][i] for i in targets]
        table = pa.table({"id": [str(i) for i in range(len(texts))], "text": texts, "label": labels})
        split = SimpleNamespace(name="train", labels=job["labels"], pair=False, table=table)
        # so many epochs that the last one is never reached
        settings = TrainingSettings(base_model=job["base_model"], **{**job["settings"], "epochs": 1000}, **changes)
        distribution = open_distribution()
        with distribution.strategy.scope():
            classifier = make_classifier(settings.network, split, seed=settings.seed, dtype=settings.dtype)
        data = read_data(
            classifier,
            split,
            split,
            max_length=settings.max_length,
            truncation=settings.truncation,
            weighting=settings.class_weights,
        )
        self._schedule = settings.schedule(len(data.train))
        self._trainer = make_trainer(classifier, data, self._schedule, settings.optimizer, distribution, settings.seed)
        self._done = 0

    def run(self) -> None:
        """Train for one epoch."""
        for _ in range(self._schedule.steps_per_epoch):
            self._trainer.train_step(self._done)
            self._done += 1
