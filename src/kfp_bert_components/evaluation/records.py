"""An evaluation on disk: evaluation.json and predictions.parquet."""

import json
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components.errors import NotFoundError, UserError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

FORMAT = 1


@dataclass(frozen=True)
class Evaluation:
    """What a model did on a test set.

    Attributes:
        labels: The classes, in the order of the probabilities.
        test_fingerprint: Fingerprint of the test split: which rows, with which labels.
        model_fingerprint: Fingerprint of the model's bundle.
        model_version: Version in the registry; None for a candidate.
        champion_generation: For a champion, generation of the pointer that was read; 0 when there was none.
        metrics: By name: value, and low and high of its 95 % interval.
        majority_share: Share of the most frequent class in the test set.
        predictions: Columns id, text, label, probabilities (list of float32, one a class); None when empty.
    """

    labels: list[str]
    test_fingerprint: str
    model_fingerprint: str = ""
    model_version: int | None = None
    champion_generation: int = 0
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    majority_share: float = 0.0
    predictions: "pa.Table | None" = None

    @property
    def empty(self) -> bool:
        """Whether no model was evaluated: the registry had no champion."""
        return self.predictions is None

    def truth(self) -> "np.ndarray":
        """Index of the true class of every row, int [rows]."""
        import numpy as np

        assert self.predictions is not None
        numbers = {label: i for i, label in enumerate(self.labels)}
        return np.array([numbers[label] for label in self.predictions["label"].to_pylist()], dtype=np.int64)

    def probabilities(self) -> "np.ndarray":
        """Probabilities of the classes, float64 [rows, classes]."""
        import numpy as np

        assert self.predictions is not None
        column = self.predictions["probabilities"].combine_chunks()
        return np.asarray(column.flatten(), dtype=np.float64).reshape(len(column), len(self.labels))

    def confusion(self) -> list[list[int]]:
        """Counts of rows by true class (row) and predicted class (column)."""
        from kfp_bert_components.evaluation.metrics import confusion

        return confusion(self.truth(), self.probabilities().argmax(1), len(self.labels)).tolist()


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write `evaluation` to the artifact path `folder`, each file whole and once."""
    import pyarrow.parquet as pq

    from kfp_bert_components.storage import publish_folder

    record = {"format": FORMAT, **asdict(_without_predictions(evaluation)), "empty": evaluation.empty}
    record.pop("predictions")
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "evaluation.json").write_text(json.dumps(record, indent=2))
        if evaluation.predictions is not None:
            pq.write_table(evaluation.predictions, Path(scratch) / "predictions.parquet")
        publish_folder(Path(scratch), folder)


def _without_predictions(evaluation: Evaluation) -> Evaluation:
    from dataclasses import replace

    return replace(evaluation, predictions=None)


def read_evaluation(folder: Path) -> Evaluation:
    """Read an evaluation.

    Raises:
        NotFoundError: There is none in `folder`.
        UserError: Its format is unknown.
    """
    import pyarrow.parquet as pq

    path = folder / "evaluation.json"
    if not path.exists():
        raise NotFoundError(f"{folder} holds no evaluation: evaluation.json is missing.")
    record: dict[str, Any] = json.loads(path.read_text())
    if record.pop("format", None) != FORMAT:
        raise UserError(f"{path} has a format that this version does not know; expected {FORMAT}.")
    empty = record.pop("empty")
    return Evaluation(**record, predictions=None if empty else pq.read_table(folder / "predictions.parquet"))
