"""The registry: every promoted model version, which one is champion, and where it is deployed."""

from kfp_bert_components.registry._records import Champion, Deployment, Event, Version
from kfp_bert_components.registry._registry import Registry
from kfp_bert_components.registry._step import Promoted, promote_if_decided

__all__ = ["Champion", "Deployment", "Event", "Promoted", "Registry", "Version", "promote_if_decided"]
