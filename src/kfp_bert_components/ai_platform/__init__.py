"""AI Platform (Vertex AI): its client, custom jobs to train in, and an endpoint as a rollout target."""

from importlib import import_module

from kfp_bert_components.errors import UserError

_HOME = {
    "AiPlatformSettings": "settings",
    "DeployedModel": "deploy",
    "deploy_to_ai_platform": "deploy",
    "run_as_custom_job": "job",
}

__all__ = ["AiPlatformSettings", "DeployedModel", "deploy_to_ai_platform", "run_as_custom_job"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("google"):
            raise UserError(
                f"{error.name} is not installed: pip install 'kfp-bert-components[ai-platform]'."
            ) from error
        raise
