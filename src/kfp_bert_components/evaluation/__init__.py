"""A model's predictions and metrics on one fixed test set."""

from kfp_bert_components.evaluation.records import Evaluation, read_evaluation, write_evaluation
from kfp_bert_components.extras import named_extra

__all__ = ["Evaluation", "Slicing", "evaluate", "read_evaluation", "write_evaluation"]


def __getattr__(name: str) -> object:
    if name in ("Slicing", "evaluate"):
        with named_extra():
            from kfp_bert_components.evaluation import score

        return getattr(score, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
