"""The notebook's pipeline runs whole: from files in a bucket to an endpoint, which a second run leaves as it is."""

import json

import pytest

from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import open_store
from tests.support.ai_platform_served import Served
from tests.support.ai_platform_server import AiPlatformServer
from tests.support.easy_tables import TINY, write_easy_lines
from tests.support.examples import EXAMPLES
from tests.support.pipeline_runs import run_pipeline
from tests.support.stores import gcs

__all__ = ["gcs"]


@pytest.mark.docs
def test_it_deploys_a_better_model_and_nothing_is_pending_afterwards(gcs, tmp_path):
    for name, rows in (("51_train.csv", 900), ("231_other.csv", 150)):  # the seed is the length of the name
        open_store("gs://bucket/rawdata").upload(write_easy_lines(tmp_path / name, rows), name)
    registry = Registry("gs://bucket/registry")
    with AiPlatformServer() as server:
        server.cloud.predictor = Served(tmp_path)
        given = {
            "project": "p",
            "location": "region-1",
            "sources": json.dumps(["gs://bucket/rawdata/*.csv"]),
            "registry": registry.uri,
            "training": json.dumps(TINY),
            "api_endpoint": server.url,
        }
        found, again = (
            run_pipeline(f"{EXAMPLES / 'from_the_notebook.py'}:train_pipeline", tmp_path, **given) for _ in range(2)
        )
        (endpoint,) = server.cloud.endpoints.values()
    assert found["compare-models"]["outcome"] == "PROMOTE", found["compare-models"]["reason"]
    assert registry.deployment("production").live_version == 1 and not registry.deployment_pending("production")
    assert list(endpoint.traffic_split.values()) == [100]
    split = json.loads((found["prepare-text-data"]["test"] / "split.json").read_text())
    assert split["rows"] == 150
    # The same data and settings: what is trained comes from the cache, and the gate refuses the same model.
    assert again["finetune-bert"]["model"].resolve() == found["finetune-bert"]["model"].resolve()
    assert again["compare-models"]["outcome"] == "REJECT"
