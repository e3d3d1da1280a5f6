"""Makes a place that serves models serve the registry's champion, and takes a bad one back."""

from importlib import import_module

from kfp_bert_components.deployment.rollout import RolloutError
from kfp_bert_components.deployment.serving_directory import Deployed, deploy_to_serving_directory
from kfp_bert_components.deployment.smoke import SmokeSettings
from kfp_bert_components.errors import UserError

__all__ = [
    "AiPlatformSettings",
    "Deployed",
    "DeployedModel",
    "RolloutError",
    "SmokeSettings",
    "deploy_to_ai_platform",
    "deploy_to_serving_directory",
]

# Google's client is imported only by those who deploy to AI Platform.
_LAZY = {
    "AiPlatformSettings": "ai_platform_settings",
    "DeployedModel": "ai_platform",
    "deploy_to_ai_platform": "ai_platform",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        try:
            return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("google"):
                raise UserError(
                    f"{error.name} is not installed: pip install 'kfp-bert-components[ai-platform]'."
                ) from error
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
