"""Decide about a candidate: count the use of the test set, write the decision, draw its page."""

import shutil
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from kfp_bert_components.evaluation import Evaluation, read_evaluation
from kfp_bert_components.evaluation.records import CLUSTER
from kfp_bert_components.gate import Decision, Policy, Use, uncounted, write_decision
from kfp_bert_components.gate.changes import changes
from kfp_bert_components.gate.comparison import compare, decide
from kfp_bert_components.origin import Origin, here
from kfp_bert_components.progress import say
from kfp_bert_components.registry import Registry
from kfp_bert_components.reports import written
from kfp_bert_components.reports.comparison import page, summary
from kfp_bert_components.storage import file_hashes

if TYPE_CHECKING:
    import numpy as np

_NO_TEST = ("override", "on_data_alarm", "allow_new_labels", "require_all_classes")


def compare_models(
    candidate: Path,
    champion: Path,
    decision: Path,
    report: Path,
    markdown: Path,
    policy: Policy,
    registry: str = "",
    origin: Origin | None = None,
    report_uri: str = "",
) -> Decision:
    """Decide whether the candidate shall replace the champion; write decision, page and summary, and tell the registry.

    Args:
        candidate: Evaluation of the candidate.
        champion: Evaluation of the champion on the same rows; an empty one when there is none.
        decision: Folder for the decision.
        report: HTML page to write.
        markdown: File for the summary.
        policy: The rules.
        registry: Registry that counts how often texts of the test set have decided; "" counts nothing, and then alpha
            holds for each comparison and not for all of them together.
        origin: Where this is decided, for the decision; by default what the environment tells.
        report_uri: Where people find the page, for the registry; by default `report`. Of a run on one machine, it is
            a copy beside `report` that ends in .html.

    Raises:
        UserError: The two are not about the same rows, or the primary metric is not defined on them. Such a
            comparison is no use of the test set.
    """
    new, old = read_evaluation(candidate), read_evaluation(champion)
    comparison = compare(new, old, policy.goal)  # first of all: what can't be compared is no use of the test set
    use = uncounted(policy.alpha)
    if registry and new.model_fingerprint != old.model_fingerprint:  # of a model and itself nothing is decided
        use, rows = _count(registry, new, old, policy)
        if use.left_out:
            new, old = _only(new, old, rows)
            # Whether the labels can be learnt shows on all rows: on all rows the champion was measured as well.
            comparison = replace(compare(new, old, policy.goal), unlearnt=comparison.unlearnt)
    made = decide(comparison, policy, use, _kept_back(registry, new.model_fingerprint) if registry else "")
    reason = f"{made.reason} {use.in_words()}".rstrip()
    origin = origin or here()
    made = replace(made, reason=reason, evaluation_files=file_hashes(candidate), origin=origin.known())
    write_decision(made, decision)
    about = [("registry", registry or "none"), written(report)]
    command = (
        f"kfp-bert registry history {quote(registry)} --run {quote(origin.label)}" if registry and origin.label else ""
    )
    pages = {report: page(made, new, old, changes(comparison), about, command), markdown: summary(made, command)}
    for path, text in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    if registry:
        Registry(registry, origin=origin).keep_decision(made, _where_to_read(report, report_uri, origin))
    for warning in made.warnings:
        say(f"Warning: {warning}")
    say(f"{made.outcome}: {made.reason}")
    return made


def _where_to_read(report: Path, uri: str, origin: Origin) -> str:
    """Where people find the page; of a run on one machine a copy that ends in .html, which browsers show as a page."""
    if not origin.folder:
        return uri or str(report)
    return str(shutil.copyfile(report, report.with_name(f"{report.name}.html")))


def _kept_back(registry: str, fingerprint: str) -> str:
    """Why a model that somebody went back from is not promoted again by a run; "" for any other."""
    move = Registry(registry).rolled_back_from(fingerprint)
    if move is None:
        return ""
    left = move["previous"]
    why = f" ({move['reason']})" if move["reason"] else ""
    return (
        f"This is the model of version {left}, from which {move['by']} went back to version {move['version']} at "
        f"{move['at']}{why}. To make it champion again, run `kfp-bert registry rollback {quote(registry)} --to {left}` "
        "or set override in the policy."
    )


def _count(registry: str, candidate: Evaluation, champion: Evaluation, policy: Policy) -> "tuple[Use, np.ndarray]":
    """The same models by the same rules on the same kind of evidence are the same use.

    A rule that adds no test of the models is left out.
    """
    rules = {key: value for key, value in policy.as_dict().items() if not key.startswith(_NO_TEST)}
    identity = {
        "candidate": candidate.model_fingerprint,
        "champion_version": champion.model_version,
        "policy": rules,
        **({"evidence_by": candidate.evidence_by} if candidate.evidence_by != "text" else {}),
    }
    return Registry(registry).count_use(candidate, policy.alpha, identity)


def _only(candidate: Evaluation, champion: Evaluation, rows: "np.ndarray") -> tuple[Evaluation, Evaluation]:
    """Both evaluations with the predictions for some rows of the candidate's only."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def order(table: pa.Table) -> "np.ndarray":
        keys = [(name, "ascending") for name in ("id", "label", CLUSTER) if name in table.column_names]
        return pc.sort_indices(table, keys).to_numpy()

    assert candidate.predictions is not None
    kept = replace(candidate, predictions=candidate.predictions.filter(pa.array(rows)))
    if champion.predictions is None:
        return kept, champion
    # Both have the same rows, each in an order of its own.
    same = rows[order(candidate.predictions)][order(champion.predictions).argsort()]
    return kept, replace(champion, predictions=champion.predictions.filter(pa.array(same)))
