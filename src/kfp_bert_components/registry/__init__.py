"""The registry: every promoted model version, which one is champion, and where it is deployed."""

from kfp_bert_components.registry._checkpoints import checkpoints_beside
from kfp_bert_components.registry._decisions import Approval, DecisionRecord
from kfp_bert_components.registry._records import Champion, Deployment, HistoryEvent, Mirror, Version, check_target
from kfp_bert_components.registry._registry import Registry

__all__ = [
    "Approval",
    "Champion",
    "DecisionRecord",
    "Deployment",
    "HistoryEvent",
    "Mirror",
    "Registry",
    "Version",
    "check_target",
    "checkpoints_beside",
]
