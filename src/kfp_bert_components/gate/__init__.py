"""The metric gate: is the candidate really better than the champion?"""

from kfp_bert_components.extras import named_extra
from kfp_bert_components.gate.decision import Decision, check_decision, read_decision, write_decision
from kfp_bert_components.gate.policy import (
    Policy,
    is_policy_file,
    parse_policy,
    policy_from,
    policy_schema,
    read_policy,
)
from kfp_bert_components.gate.use import Use, choose_lineages, spend, uncounted

__all__ = [
    "Decision",
    "Policy",
    "Use",
    "check_decision",
    "choose_lineages",
    "compare",
    "decide",
    "is_policy_file",
    "parse_policy",
    "policy_from",
    "policy_schema",
    "read_decision",
    "read_policy",
    "spend",
    "uncounted",
    "write_decision",
]


def __getattr__(name: str) -> object:
    if name in ("compare", "decide"):
        with named_extra():
            from kfp_bert_components.gate import comparison

        return getattr(comparison, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
