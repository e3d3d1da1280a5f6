"""The predictions of two models on the same test set: the same rows in the same order, the same classes."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation import Evaluation
from kfp_bert_components.evaluation.clusters import Clusters
from kfp_bert_components.evaluation.count_metrics import Margins, confusion, margins
from kfp_bert_components.evaluation.records import CLUSTER
from kfp_bert_components.evaluation.text_keys import key_column
from kfp_bert_components.gate.tables import Table, types_of


@dataclass(frozen=True)
class PairedPredictions:
    """Predictions of candidate and champion on the same rows.

    Attributes:
        labels: Names of the classes.
        truth: Numbers of the true classes, int [rows].
        candidate: Probabilities, [rows, classes].
        champion: Probabilities, [rows, classes].
        order: Rows of the candidate's evaluation in the order used here, [rows].
        clusters: Which rows are evidence only together.
    """

    labels: list[str]
    truth: np.ndarray
    candidate: np.ndarray
    champion: np.ndarray
    order: np.ndarray
    clusters: Clusters

    @cached_property
    def predicted(self) -> tuple[np.ndarray, np.ndarray]:
        """Predicted classes of candidate and champion, int [rows] each."""
        return self.candidate.argmax(1), self.champion.argmax(1)

    @cached_property
    def present(self) -> np.ndarray:
        """Which classes the test set has, bool [classes]."""
        return np.bincount(self.truth, minlength=len(self.labels)) > 0

    @cached_property
    def table(self) -> Table:
        """The clusters by what they hold."""
        cells, types, counts = types_of(self.truth, *self.predicted, self.clusters.numbers)
        return Table(cells, counts, self.present, types)

    @cached_property
    def margins(self) -> tuple[Margins, Margins]:
        """Rows of each class: right, true and predicted, of candidate and champion."""
        one, two = (margins(self.truth, classes, len(self.labels)) for classes in self.predicted)
        return one, two

    def only(self, labels: list[str]) -> "PairedPredictions":
        """The same with these classes alone: the rows of others are left out, and so are answers with others."""
        chosen = np.array([self.labels.index(label) for label in labels], np.int64)
        rows = np.isin(self.truth, chosen)
        place = np.zeros(len(self.labels), np.int64)
        place[chosen] = np.arange(len(chosen))
        sides = [side[rows][:, chosen] for side in (self.candidate, self.champion)]
        one, two = (side / np.maximum(side.sum(1, keepdims=True), np.finfo(side.dtype).tiny) for side in sides)
        return replace(
            self,
            labels=labels,
            truth=place[self.truth[rows]],
            candidate=one,
            champion=two,
            order=self.order[rows],
            clusters=self.clusters.of(np.flatnonzero(rows)),
        )

    @property
    def rows(self) -> int:
        """Rows of the test set."""
        return len(self.truth)

    @cached_property
    def flips(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows that only the candidate has right, and that only the champion has right, bool [rows] each."""
        ours, theirs = (classes == self.truth for classes in self.predicted)
        return ours & ~theirs, theirs & ~ours

    def confusions(self) -> tuple[np.ndarray, np.ndarray]:
        """Confusion matrices of candidate and champion."""
        one, two = (confusion(self.truth, classes, len(self.labels)) for classes in self.predicted)
        return one, two


def pair_predictions(new: Evaluation, old: Evaluation) -> PairedPredictions:
    """Align the evaluations of candidate and champion.

    Where the champion's is empty, its part is played by the class shares: the same probabilities for every row.

    Raises:
        UserError: They are not about the same rows with the same labels, or have probabilities that are none.
    """
    if new.predictions is None:
        raise UserError("The candidate's evaluation is empty; give the output of evaluate_model.")
    if not new.predictions.num_rows:
        raise UserError("There is no test row to compare the models on; evaluate both on a test split with rows.")
    for name, one in (("candidate", new), ("champion", old)):
        if not one.empty and (fault := one.probability_fault()):
            raise UserError(f"The evaluation of the {name} can't be used: {fault}; evaluate it again.")
    first = _order(new.predictions)
    clusters = new.clusters().of(first)
    if old.empty:
        return PairedPredictions(
            new.labels, new.truth()[first], new.probabilities()[first], _class_shares(new), first, clusters
        )
    assert old.predictions is not None
    second = _order(old.predictions)
    _require_same_rows(new.predictions, first, old.predictions, second)
    if new.evidence_by != old.evidence_by:
        raise UserError(
            f"The candidate's evaluation counts evidence by {new.evidence_by!r} and the champion's by "
            f"{old.evidence_by!r}: give evaluate_model and evaluate_champion the same evidence_by."
        )
    if key_column(new.predictions) == "id":  # an older evaluation without texts: the other may know which are the same
        clusters = old.clusters().of(second)
    labels = new.labels + [label for label in old.labels if label not in new.labels]
    return PairedPredictions(
        labels, new.truth()[first], _in_order_of(new, labels)[first], _in_order_of(old, labels)[second], first, clusters
    )


def _order(table: pa.Table) -> np.ndarray:
    """The order of the rows by id, label and cluster, so that the order in the files does not matter."""
    keys = [(name, "ascending") for name in ("id", "label", CLUSTER) if name in table.column_names]
    return pc.sort_indices(table, keys).to_numpy()


def _require_same_rows(new: pa.Table, first: np.ndarray, old: pa.Table, second: np.ndarray) -> None:
    if new.num_rows != old.num_rows:
        raise UserError(
            f"The candidate was evaluated on {new.num_rows:,} rows and the champion on {old.num_rows:,}; "
            "evaluate both on the same test split."
        )
    wanted = ("id", "label", "text", CLUSTER)
    for column in [name for name in wanted if name in new.column_names and name in old.column_names]:
        sides = (new[column].take(first), old[column].take(second))
        ours, theirs = (pc.fill_null(side.cast(pa.string()), "") for side in sides)  # null equals nothing, not null
        at = pc.index(pc.equal(ours, theirs), False).as_py()
        if at >= 0:
            raise UserError(
                f"Candidate and champion were evaluated on different test rows or labels: "
                f"{_difference(column, new.take(first[at : at + 1]), old.take(second[at : at + 1]))}; evaluate both on "
                "the same test split."
            )


def _difference(column: str, one: pa.Table, other: pa.Table) -> str:
    """Where two rows differ. Values are quoted only where texts are kept: a group may be a person's name."""
    if "text" in one.column_names and "text" in other.column_names:
        ours, theirs = (repr(str(row[column][0])[:80]) for row in (one, other))
        return f"where one has the {column} {ours} the other has {theirs}"
    return f"their {column} differs in the row with the id {str(one['id'][0])!r}"


def _in_order_of(evaluation: Evaluation, labels: list[str]) -> np.ndarray:
    """Probabilities with the classes in the order of `labels`, 0 for a class that the model does not know."""
    probabilities = evaluation.probabilities()
    if evaluation.labels == labels:
        return probabilities
    result = np.zeros((len(probabilities), len(labels)), probabilities.dtype)
    result[:, [labels.index(label) for label in evaluation.labels]] = probabilities
    return result


def _class_shares(evaluation: Evaluation) -> np.ndarray:
    """The probabilities of a model that knows only how frequent each class is, [rows, classes]."""
    counts = np.bincount(evaluation.truth(), minlength=len(evaluation.labels))
    return np.repeat((counts / counts.sum()).astype(np.float32)[None], counts.sum(), 0)
