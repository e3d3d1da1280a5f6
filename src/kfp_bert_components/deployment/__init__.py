"""Makes a place that serves models serve the registry's champion, and takes a bad one back."""

from kfp_bert_components.deployment.rollout import RolloutError
from kfp_bert_components.deployment.serving_directory import Deployed, deploy_to_serving_directory
from kfp_bert_components.deployment.smoke import SmokeSettings

__all__ = ["Deployed", "RolloutError", "SmokeSettings", "deploy_to_serving_directory"]
