"""Makes a model server serve the registry's champion, and takes a bad one back."""

from kfp_bert_components.deployment.rollout import RolloutError
from kfp_bert_components.deployment.serving_directory import Deployed, deploy_to_serving_directory

__all__ = ["Deployed", "RolloutError", "deploy_to_serving_directory"]
