"""Makes a place that serves models serve the registry's champion, and puts the old version back if that fails.

A place is a `Target`: one file beside this one, or in another folder, that implements the protocol.
"""

from kfp_bert_components.deployment.directory_target import DirectoryTarget
from kfp_bert_components.deployment.journal import Journal, LeaseLostError
from kfp_bert_components.deployment.open_folder import open_versioned_folder
from kfp_bert_components.deployment.rollout import champion_to_deploy, roll_out
from kfp_bert_components.deployment.serving_directory import DeployedVersion, deploy_to_serving_directory
from kfp_bert_components.deployment.smoke_requests import SmokeRequest, SmokeRequests, load_smoke_requests
from kfp_bert_components.deployment.smoke_test import Answer, SmokeSettings, smoke_test
from kfp_bert_components.deployment.target import ForeignOwnerError, RolloutError, Target
from kfp_bert_components.deployment.time_limits import check_lease
from kfp_bert_components.deployment.traffic import (
    TrafficSplit,
    beside_others,
    largest_that_fit,
    restored_split,
    split_with,
)

__all__ = [
    "Answer",
    "DeployedVersion",
    "DirectoryTarget",
    "ForeignOwnerError",
    "Journal",
    "LeaseLostError",
    "RolloutError",
    "SmokeRequest",
    "SmokeRequests",
    "SmokeSettings",
    "Target",
    "TrafficSplit",
    "beside_others",
    "champion_to_deploy",
    "check_lease",
    "deploy_to_serving_directory",
    "largest_that_fit",
    "load_smoke_requests",
    "open_versioned_folder",
    "restored_split",
    "roll_out",
    "smoke_test",
    "split_with",
]
