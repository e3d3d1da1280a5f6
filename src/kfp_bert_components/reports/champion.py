"""The page of the champion's evaluation: the alarm, and all that an evaluation's page shows."""

from typing import TYPE_CHECKING

from kfp_bert_components.reports import evaluation, render

if TYPE_CHECKING:
    from kfp_bert_components.evaluation import Evaluation


def page(champion: "Evaluation") -> str:
    """The page of the champion's evaluation; without a champion it says so."""
    if champion.empty:
        return render("no_champion.html", champion=champion)
    from kfp_bert_components.evaluation.details import details

    return evaluation.page(champion, details(champion), "champion.html")
