"""Ready pipelines made of the components. Each is also a file under examples/ to copy and edit."""

from kfp_bert_components.pipelines.train_and_deploy import train_and_deploy

__all__ = ["train_and_deploy"]
