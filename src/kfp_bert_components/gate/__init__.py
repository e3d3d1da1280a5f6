"""The metric gate: is the candidate really better than the champion?"""

from kfp_bert_components.gate.decision import Decision, read_decision
from kfp_bert_components.gate.policy import Policy, parse_policy, read_policy

__all__ = ["Decision", "Policy", "compare", "parse_policy", "read_decision", "read_policy"]


def __getattr__(name: str) -> object:
    if name == "compare":
        from kfp_bert_components.gate.comparison import compare

        return compare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
