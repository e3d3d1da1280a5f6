"""Our training loop without evaluation, checkpoints and export: epoch after epoch on the rows of a job."""

from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from kfp_bert_components.training import TrainingSettings
from kfp_bert_components.training.distribution import open_distribution
from kfp_bert_components.training.loop import Trial
from kfp_bert_components.training.preemption import Sigterm
from kfp_bert_components.training.run import _make_step, _prepare, _shrunk


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
        split = SimpleNamespace(name="train", labels=job["labels"], fingerprint="", pair=False, table=table)
        # so many epochs that the last one is never reached
        settings = TrainingSettings(base_model=job["base_model"], **{**job["settings"], "epochs": 1000}, **changes)
        run, classifier = _prepare((split, split), settings, open_distribution(), Sigterm())
        classifier = _shrunk(run, classifier)
        self._trial = Trial(run, classifier.model, _make_step(classifier, run))
        self._steps = run.steps_per_epoch

    def run(self) -> None:
        """Train for one epoch."""
        for _ in range(self._steps):
            self._trial._one_step()
