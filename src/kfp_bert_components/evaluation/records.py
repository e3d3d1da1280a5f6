"""An evaluation on disk: evaluation.json and predictions.parquet."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from kfp_bert_components.errors import DamagedError, NotFoundError, UserError
from kfp_bert_components.evaluation.text_keys import TEXT_KEY, key_column, with_text_keys
from kfp_bert_components.formats import counted
from kfp_bert_components.records import build, check_types, dump_record, load_record, require

if TYPE_CHECKING:
    import numpy as np

    from kfp_bert_components.evaluation.clusters import Clusters
    from kfp_bert_components.evaluation.count_metrics import Margins

# Format 1 knows nothing of bundle_files, format 2 nothing of evidence_by, alarm, new_labels, and format 3 nothing of
# engine and precision, as it was made with the SavedModel, and of text_key in the predictions.
FORMAT = 4
PROMOTED_ON = "promoted_on.parquet"
# Column of the predictions that says which rows are evidence only together, where a column of the data says so.
CLUSTER = "cluster"
_ROC_ROWS = 20_000
# How far probabilities may lie outside 0 to 1, and how far their sum from 1.
_ROUNDING, _SUM = 1e-6, 1e-3


@dataclass(frozen=True)
class _Metric:
    """What an evaluation says of a metric, each where it is known."""

    value: float = 0.0
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class _Figures:
    """What an alarm says of the rows of a test set."""

    accuracy: float
    rows: int
    texts: int


# The fields of `gate.alarm.DataAlarm`, and their types.
_ALARM = {
    **dict.fromkeys(("sentence", "note", "frequent"), str),
    **dict.fromkeys(("chance", "frequent_share", "alpha"), float),
    **dict.fromkeys(("p_fall", "p_frequent"), float | None),
    **dict.fromkeys(("now", "then"), _Figures | None),
    "labels": list[str],
}


@dataclass(frozen=True)
class Evaluation:
    """What a model did on a test set.

    Attributes:
        labels: The classes, in the order of the probabilities.
        test_fingerprint: Fingerprint of the test split: which rows, with which labels.
        model_fingerprint: Fingerprint of the model's bundle.
        bundle_files: SHA-256 of every file of that bundle; empty where it was not recorded (format 1).
        model_version: Version in the registry; None for a candidate.
        champion_generation: For a champion, generation of the pointer that was read; 0 when there was none.
        metrics: By name: value, and low and high of its 95 % interval.
        majority_share: Share of the most frequent class in the test set.
        engine: What answered: "onnxruntime" or "tensorflow".
        precision: Of the engine: "float32", "bfloat16" or "int8"; "" where it was not recorded (formats 1 to 3).
        system: latency_p50_ms and latency_p95_ms of one text, and size_bytes of the files that the engine needs.
        slices: Names of the slices; `predictions` has a bool column "slice:NAME" for each.
        new_labels: Those of `labels` that the test set has and the model does not know: their probability is 0.
        predictions: Columns id, text (and text_pair, unless texts were left out), label, probabilities (list of
            float32, one a class), text_key (a hash that is equal where texts differ in case, punctuation, spaces or
            Unicode form only), source and source_row (where a row stood), and in_train where the test split has it;
            None when empty. Evaluations without texts that were written before have no text_key.
        evidence_by: What counts as one piece of evidence: "text" (all rows with one text_key), "row", or a column of
            the test split, whose values are in the column "cluster" of `predictions`.
        alarm: For a champion, whether the labels contradict it: the fields of `gate.alarm.DataAlarm`.
        promoted_on: For a champion, how it answered the rows that it was promoted on: a row for each distinct text,
            with the columns text_key (or id), rows, right and frequent; None where that is not known.
    """

    labels: list[str]
    test_fingerprint: str
    model_fingerprint: str = ""
    model_version: int | None = None
    champion_generation: int | str = 0
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    majority_share: float = 0.0
    system: dict[str, float] = field(default_factory=dict)
    slices: list[str] = field(default_factory=list)
    bundle_files: dict[str, str] = field(default_factory=dict)
    new_labels: list[str] = field(default_factory=list)
    evidence_by: str = "text"
    alarm: dict[str, Any] = field(default_factory=dict)
    engine: str = "tensorflow"
    precision: str = ""
    promoted_on: "pa.Table | None" = None
    predictions: "pa.Table | None" = None

    @property
    def empty(self) -> bool:
        """Whether no model was evaluated: the registry had no champion."""
        return self.predictions is None

    @property
    def known_labels(self) -> list[str]:
        """The labels that the model knows."""
        return [label for label in self.labels if label not in self.new_labels]

    def class_rows(self) -> "np.ndarray":
        """How many test rows of each class count, copies of a text or rows of a group not fully, [classes]."""
        return self.clusters().by_part(self.truth(), len(self.labels))

    def truth(self) -> "np.ndarray":
        """Index of the true class of every row, int [rows]."""
        import numpy as np
        import pyarrow.compute as pc

        assert self.predictions is not None
        labels = self.predictions["label"].cast(pa.string())
        return pc.index_in(labels, value_set=pa.array(self.labels, pa.string())).to_numpy().astype(np.int64)

    def probabilities(self) -> "np.ndarray":
        """Probabilities of the classes, float32 [rows, classes]."""
        import numpy as np

        assert self.predictions is not None
        column = self.predictions["probabilities"].combine_chunks()
        return np.asarray(column.flatten(), dtype=np.float32).reshape(len(column), len(self.labels))

    @property
    def unit(self) -> str:
        """What counts as evidence, in the plural: "texts", "rows", or the values of a column.

        Where rows have no value, their texts are named too.
        """
        return self._unit(bool(self.without_group().any()))

    def _unit(self, texts: bool) -> str:
        if self.evidence_by in ("text", "row"):
            return f"{self.evidence_by}s"
        return f"values of {self.evidence_by}" + (" or texts" if texts else "")

    def size(self, rows: "np.ndarray | None" = None) -> str:
        """How many rows there are, and of how many texts or groups if these are fewer: "38 rows, 3 texts".

        It also says how many of them have no group.

        Args:
            rows: Which rows, bool [rows] or their numbers; all if None.
        """
        import numpy as np

        clusters = self.clusters() if rows is None else self.clusters().of(rows)
        rows_said = counted(len(clusters.numbers), "rows")
        without = self.without_group()
        alone = int(np.count_nonzero(without if rows is None else without[rows]))
        said = rows_said if clusters.single else f"{rows_said}, {counted(clusters.count, self._unit(alone > 0))}"
        return f"{said} ({counted(alone, 'rows')} without a value, counted by text)" if alone else said

    def clusters(self) -> "Clusters":
        """Which rows are evidence only together. The rows of a text without a group are a cluster of their own."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        from kfp_bert_components.evaluation.clusters import Clusters, independent

        assert self.predictions is not None
        if self.evidence_by == "row":
            return independent(self.predictions.num_rows)
        texts = self.predictions[key_column(self.predictions)].cast(pa.string())
        column = texts if self.evidence_by == "text" else self.predictions[CLUSTER].cast(pa.string())
        if (alone := self.without_group()).any():  # marked, so that no group has the same name
            texts = pc.binary_join_element_wise("", texts, "\x1e")
            column = pc.if_else(pa.chunked_array([alone]), texts, column)
        numbers = column.combine_chunks().dictionary_encode(null_encoding="encode").indices
        return Clusters(np.asarray(numbers).astype(np.int64), copies=self.evidence_by == "text")

    def few_clusters(self) -> bool:
        """Whether the rows are so few texts or groups that these don't show how much they differ."""
        import numpy as np

        from kfp_bert_components.evaluation.clusters import FEWEST_FOR_A_SPREAD

        clusters = self.clusters()
        return not clusters.single and clusters.effective(np.ones(len(clusters.numbers))) < FEWEST_FOR_A_SPREAD

    def without_group(self) -> "np.ndarray":
        """Which rows have no value in the column that says what is evidence only together, bool [rows]."""
        import numpy as np

        assert self.predictions is not None
        if self.evidence_by in ("text", "row"):
            return np.zeros(self.predictions.num_rows, bool)
        return without_value(self.predictions[CLUSTER])

    def groups_fingerprint(self) -> str:
        """Hash of which row belongs to which group, hex; "" where no column says so."""
        from hashlib import sha256

        import numpy as np
        import pyarrow.compute as pc

        from kfp_bert_components.data.ids import PAIR_MARK, hash_texts

        if self.evidence_by in ("text", "row"):
            return ""
        assert self.predictions is not None
        columns = [pc.fill_null(self.predictions[name].cast(pa.string()), "") for name in ("id", "label", CLUSTER)]
        rows = hash_texts(pc.binary_join_element_wise(*columns, PAIR_MARK).combine_chunks())
        return sha256(np.sort(rows).astype("<u8").tobytes()).hexdigest()

    def fault(self) -> str:
        """What is wrong with the predictions, or with the first of their rows that can't be right; "" if nothing is."""
        import numpy as np
        import pyarrow.compute as pc

        if self.predictions is None:
            return ""
        if not self.predictions.num_rows:
            return "there are no rows"
        wanted = ["id", "label", "probabilities", *([CLUSTER] if self.evidence_by not in ("text", "row") else [])]
        if lacking := [name for name in wanted if name not in self.predictions.column_names]:
            return f"the column {lacking[0]!r} is missing"
        for name in ("id", "label", TEXT_KEY):
            if name in self.predictions.column_names and self.predictions[name].null_count:
                return f"{self._row(int(np.argmax(self.predictions[name].is_null())))} has no {name}"
        labels = self.predictions["label"].cast(pa.string())
        if not (known := np.asarray(pc.is_in(labels, value_set=pa.array(self.labels, pa.string())))).all():
            row = int(np.argmin(known))
            return f"{self._row(row)} has the label {labels[row].as_py()!r}, which the evaluation does not list"
        return self.probability_fault()

    def probability_fault(self) -> str:
        """What is wrong with the first row whose probabilities can't be right; "" if nothing is."""
        import numpy as np
        import pyarrow.compute as pc

        if self.predictions is None or "probabilities" not in self.predictions.column_names:
            return ""
        many, column = len(self.labels), self.predictions["probabilities"].combine_chunks()
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
        if wrong := np.flatnonzero(lengths != many).tolist():
            return f"{self._row(wrong[0])} has {lengths[wrong[0]]} probabilities, and there are {many} labels"
        values = self.probabilities()
        outside = ~np.all((values >= -_ROUNDING) & (values <= 1 + _ROUNDING), axis=1)  # true of NaN
        sums = values.sum(1, dtype=np.float64)
        if wrong := np.flatnonzero(outside | (np.abs(sums - 1) > _SUM)).tolist():
            shown = ", ".join(f"{value:.4g}" for value in values[wrong[0], :5]) + (", ..." if many > 5 else "")
            what = "lie between 0 and 1" if outside[wrong[0]] else f"add up to 1, not {sums[wrong[0]]:.4g}"
            more = f" ({len(wrong):,} of {len(values):,} rows are like this)" if len(wrong) > 1 else ""
            return f"{self._row(wrong[0])} has the probabilities {shown}, which must {what}{more}"
        return ""

    def _row(self, number: int) -> str:
        assert self.predictions is not None
        return f"row {number + 1:,} (id {self.predictions['id'][number].as_py()!r})"

    def overall(self) -> dict[str, float]:
        """Metrics over all classes, latency and size; only those that are finite numbers."""
        from math import isfinite

        known = {name: metric["value"] for name, metric in self.metrics.items() if "value" in metric}
        values = {name: value for name, value in known.items() if ":" not in name}
        return {name: float(value) for name, value in (values | self.system).items() if isfinite(value)}

    def roc_curve(self, points: int = 100) -> tuple[list[float], list[float], list[float]]:
        """False positive rates, true positive rates and thresholds, at most `points` of each, all finite.

        With two classes it is the curve of the second one, else the micro-average: that of all (row, class) pairs.
        """
        import numpy as np
        from sklearn.metrics import roc_curve

        truth, probabilities = self.truth(), self.probabilities()
        if len(self.labels) == 2:
            hits, scores = truth == 1, probabilities[:, 1]
        else:
            some = np.linspace(0, len(truth) - 1, min(len(truth), _ROC_ROWS)).astype(int)
            hits = (truth[some, None] == np.arange(len(self.labels))).ravel()
            scores = probabilities[some].ravel()
        if hits.all() or not hits.any():
            return [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]
        curve = roc_curve(hits, scores)
        chosen = np.unique(np.linspace(0, len(curve[0]) - 1, points).astype(int))
        # scikit-learn starts at an infinite threshold, which KFP cannot store.
        return tuple(np.clip(part[chosen], 0, 1).tolist() for part in curve)

    def members(self, name: str) -> "np.ndarray":
        """Whether each row belongs to a slice, bool [rows]."""
        assert self.predictions is not None
        return self.predictions[f"slice:{name}"].to_numpy(zero_copy_only=False)

    def confusion(self) -> list[list[int]]:
        """Counts of rows by true class (row) and predicted class (column)."""
        from kfp_bert_components.evaluation.count_metrics import confusion

        return confusion(self.truth(), self.probabilities().argmax(1), len(self.labels)).tolist()

    def margins(self) -> "Margins":
        """Rows of each class: right, true and predicted."""
        from kfp_bert_components.evaluation.count_metrics import margins

        return margins(self.truth(), self.probabilities().argmax(1), len(self.labels))


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write `evaluation` to the artifact path `folder`, each file whole and once."""
    import pyarrow.parquet as pq

    from kfp_bert_components.storage import publish_folder

    tables = {"predictions.parquet": evaluation.predictions, PROMOTED_ON: evaluation.promoted_on}
    fields = {**asdict(replace(evaluation, predictions=None, promoted_on=None)), "empty": evaluation.empty}
    del fields["predictions"], fields["promoted_on"]
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "evaluation.json").write_text(dump_record(fields, FORMAT), encoding="utf-8")
        for name, table in tables.items():
            if table is not None:
                pq.write_table(table, Path(scratch) / name)
        publish_folder(Path(scratch), folder)


def read_evaluation(folder: Path) -> Evaluation:
    """Read an evaluation.

    Raises:
        NotFoundError: There is no evaluation in `folder`, or predictions.parquet is missing.
        UserError: It is damaged, has rows that can't be right, or is of a format that this version does not know.
    """
    from kfp_bert_components.storage import is_there

    path = folder / "evaluation.json"
    if not is_there(path):
        raise NotFoundError(f"{folder} holds no evaluation: evaluation.json is missing.")
    readers = dict.fromkeys(range(1, FORMAT + 1), _read)
    evaluation, empty = load_record(path.read_bytes(), str(path), readers, "run evaluate_model again")
    if empty:
        return evaluation
    predictions, then = folder / "predictions.parquet", None
    if evaluation.alarm.get("then"):
        then = _read_table(folder / PROMOTED_ON)
    evaluation = replace(evaluation, promoted_on=then, predictions=with_text_keys(_read_table(predictions)))
    if fault := evaluation.fault():
        raise DamagedError(f"{predictions} is damaged: {fault}; run evaluate_model again.")
    return evaluation


def check_evidence_by(evidence_by: str, columns: Sequence[str]) -> None:
    """Raise a UserError where a test split with these columns does not have what counts as one piece of evidence."""
    if evidence_by not in ("text", "row", *columns):
        raise UserError(
            f"evidence_by names the column {evidence_by!r}; the test split has {', '.join(columns)}. "
            "Let prepare_text_data keep it (metadata_columns), or give 'text' or 'row'."
        )


def without_value(column: "pa.ChunkedArray") -> "np.ndarray":
    """Which rows of a column with groups have no group: null, empty or white space, bool [rows]."""
    import numpy as np
    import pyarrow.compute as pc

    values = pc.utf8_trim_whitespace(pc.fill_null(column.cast(pa.string()), ""))
    return np.asarray(pc.equal(values, ""))


def _read_table(path: Path) -> "pa.Table":
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except FileNotFoundError:
        raise NotFoundError(f"{path} is missing: run evaluate_model again.") from None
    except (pa.ArrowException, OSError) as error:
        raise DamagedError(f"{path} is damaged: it is no Parquet file ({error}); run evaluate_model again.") from None


def _read(fields: dict[str, Any]) -> tuple[Evaluation, bool]:
    """The evaluation without its predictions, and whether there are none."""
    require(fields, ["empty"])
    check_types(fields, {"empty": bool, "metrics": dict[str, _Metric]})
    empty = fields.pop("empty")
    evaluation = build(Evaluation, fields)
    check_types(evaluation.alarm, _ALARM)
    if evaluation.alarm.get("sentence"):
        require(evaluation.alarm, ["labels", "chance"])
    return evaluation, empty
