"""Scoring a model bundle on a test split."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation.metrics import confusion, f1_by_class, metrics_with_intervals
from kfp_bert_components.evaluation.records import Evaluation, write_evaluation


def evaluate(
    model: Path, test: Path, evaluation: Path, report: Path | None = None, *, model_version: int | None = None,
    champion_generation: int = 0,
) -> Evaluation:  # fmt: skip
    """Score the bundle in `model` on the split in `test` through its serving signature; keep every prediction.

    Args:
        model: A model bundle.
        test: A split made by prepare_text_data.
        evaluation: Folder to write evaluation.json and predictions.parquet to.
        report: HTML page to write.
        model_version: Version of the model in the registry, for a champion.
        champion_generation: Generation of the champion pointer, for a champion.

    Raises:
        UserError: The split has no rows, or labels that the model does not know.
    """
    from kfp_bert_components.bert import read_bundle
    from kfp_bert_components.data import read_split

    bundle, split = read_bundle(model), read_split(test)
    _check(bundle.labels, split.labels, split.table.num_rows, test)
    texts = split.table["text"].to_pylist()
    pairs = split.table["text_pair"].to_pylist() if split.pair else None
    print(f"Scoring {len(texts):,} rows.")
    probabilities = np.asarray(bundle.predict(texts, pairs), np.float64)
    predictions = pa.table({
        "id": split.table["id"], "text": split.table["text"], "label": split.table["label"].cast(pa.string()),
        "probabilities": pa.array(list(probabilities.astype(np.float32)), pa.list_(pa.float32())),
    })  # fmt: skip
    numbers = {label: i for i, label in enumerate(bundle.labels)}
    truth = np.array([numbers[label] for label in predictions["label"].to_pylist()])
    result = Evaluation(
        labels=bundle.labels, test_fingerprint=split.fingerprint, model_fingerprint=bundle.metadata["fingerprint"],
        model_version=model_version, champion_generation=champion_generation,
        metrics=metrics_with_intervals(truth, probabilities),
        majority_share=float(np.bincount(truth).max() / len(truth)), predictions=predictions,
    )  # fmt: skip
    write_evaluation(result, evaluation)
    if report is not None:
        report.write_text(_page(result))
    return result


def evaluate_champion(registry: str, test: Path, evaluation: Path) -> Evaluation | None:
    """Score the registry's champion on the split in `test`, now.

    Returns:
        Its evaluation; None when the registry has no champion: then an empty evaluation is written.
    """
    from kfp_bert_components.data import read_split
    from kfp_bert_components.registry import Registry

    store = Registry(registry)
    champion = store.champion()
    if champion is None:
        split = read_split(test)
        write_evaluation(Evaluation(labels=split.labels, test_fingerprint=split.fingerprint), evaluation)
        return None
    with tempfile.TemporaryDirectory() as scratch:
        store.fetch_bundle(champion.version, Path(scratch))
        return evaluate(
            Path(scratch), test, evaluation, model_version=champion.version, champion_generation=champion.generation
        )


def _check(known: list[str], labels: list[str], rows: int, test: Path) -> None:
    if not rows:
        raise UserError(f"The test split {test} has no rows; give it some, for example with test_fraction.")
    unknown = sorted(set(labels) - set(known))
    if unknown:
        raise UserError(f"The test split has labels that the model does not know: {', '.join(unknown[:5])}.")


def _page(evaluation: Evaluation) -> str:
    from kfp_bert_components.reports import render

    truth, probabilities = evaluation.truth(), evaluation.probabilities()
    counts = confusion(truth, probabilities.argmax(1), len(evaluation.labels))
    return render("evaluation.html", evaluation=evaluation, rows=len(truth), counts=counts.tolist(),
                  f1=f1_by_class(counts).tolist())  # fmt: skip
