"""Ready pipelines made of the components. examples/ has pipelines to copy."""

from kfp_bert_components.pipelines.train_and_deploy import train_and_deploy
from kfp_bert_components.pipelines.train_and_deploy_to_ai_platform import train_and_deploy_to_ai_platform
from kfp_bert_components.pipelines.train_and_deploy_to_kserve import train_and_deploy_to_kserve

__all__ = ["train_and_deploy", "train_and_deploy_to_ai_platform", "train_and_deploy_to_kserve"]
