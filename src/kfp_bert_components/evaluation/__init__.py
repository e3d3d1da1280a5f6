"""A model's predictions and metrics on one fixed test set."""

from kfp_bert_components.evaluation.records import Evaluation, read_evaluation

__all__ = ["Evaluation", "evaluate", "evaluate_champion", "read_evaluation"]


def __getattr__(name: str) -> object:
    if name in ("evaluate", "evaluate_champion"):
        from kfp_bert_components.evaluation import score

        return getattr(score, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
