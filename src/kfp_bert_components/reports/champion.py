"""The page of the champion's evaluation: the alarm, and all that an evaluation's page shows."""

from typing import TYPE_CHECKING

from kfp_bert_components.reports import Facts, evaluation, render

if TYPE_CHECKING:
    from kfp_bert_components.evaluation import Evaluation


def page(champion: "Evaluation", about: Facts) -> str:
    """The page of the champion's evaluation; without a champion it says so. `about` is what its first line adds."""
    if champion.empty:
        return render(
            "no_champion.html", about=[("test set", champion.test_fingerprint[:12]), *about], champion=champion
        )
    from kfp_bert_components.evaluation.details import details

    return evaluation.page(champion, details(champion), about, "champion.html")
