"""Score the registry's champion on the test split that the candidate is scored on, and look whether it fell."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from kfp_bert_components.bert import read_bundle
from kfp_bert_components.data.splits import read_split
from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation import Evaluation, read_evaluation, write_evaluation
from kfp_bert_components.evaluation.records import check_evidence_by
from kfp_bert_components.evaluation.score import evaluate
from kfp_bert_components.gate import Policy, read_decision
from kfp_bert_components.gate.alarm import by_text, find_alarm
from kfp_bert_components.progress import say
from kfp_bert_components.registry import Registry
from kfp_bert_components.reports import written
from kfp_bert_components.reports.champion import page


def evaluate_champion(
    registry: str,
    test: Path,
    evaluation: Path,
    report: Path,
    *,
    evidence_by: str = "text",
    keep_texts: str = "all",
    predict: Callable[[list[str], list[str] | None], np.ndarray] | None = None,
) -> str:
    """Score the champion on a test split, now.

    Args:
        registry: URI of the registry.
        test: The test split; labels that the champion does not know count as missed.
        evaluation: Folder for the evaluation; an empty one is written while the registry has no champion.
        report: HTML page to write.
        evidence_by: What counts as one piece of evidence, as in evaluate_model.
        keep_texts: "all", or "ids" to leave the texts out of the evaluation.
        predict: Scores texts (and pairs) instead of the champion's engine, for tests.

    Returns:
        The champion's version, "" if there is none.

    Raises:
        UserError: The split has no column `evidence_by`, also where there is no champion yet.
    """
    models = Registry(registry)
    champion = models.champion()
    if champion is None:
        split = read_split(test)
        check_evidence_by(evidence_by, split.table.column_names)
        found = Evaluation(split.labels, split.fingerprint)
        say("There is no champion yet.")
    else:
        with tempfile.TemporaryDirectory() as scratch:
            bundle = Path(scratch, "bundle")
            models.fetch_bundle(champion.version, bundle)
            found = evaluate(
                bundle,
                test,
                Path(scratch, "evaluation"),
                model_version=champion.version,
                champion_generation=champion.generation,
                predict=predict,
                new_labels=True,
                evidence_by=evidence_by,
                keep_texts=keep_texts,
            )
            found = _with_alarm(found, read_bundle(bundle).labels, models, champion.version)
        say(f"The champion is version {champion.version}.")
    write_evaluation(found, evaluation)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(page(found, [("registry", registry), written(report)]), encoding="utf-8")
    return str(champion.version) if champion else ""


def _with_alarm(now: Evaluation, labels: list[str], models: Registry, version: int) -> Evaluation:
    """The evaluation with what its labels say of the champion, in comparison with those that it was promoted on."""
    then, chance, note = None, Policy().alpha, ""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            models.fetch_promotion(version, Path(scratch))
            then = read_evaluation(Path(scratch, "evaluation"))
            chance = read_decision(Path(scratch, "decision")).test_set.get("alpha", chance)
        except UserError as error:
            note = str(error)
    if not then or then.empty:
        then, note = None, f"How good the champion was when it was promoted is not known. {note}".rstrip()
    alarm = find_alarm(now, then, labels, chance, note)
    for sentence in (alarm.note, alarm.sentence):
        if sentence:
            say(sentence)
    return replace(now, alarm=asdict(alarm), promoted_on=by_text(then, labels) if alarm.then and then else None)
