"""The main pipeline from gs:// to an endpoint, against the fakes of storage and AI Platform.

The three runs train three models, so they are made only with `KFP_BERT_ROUNDS=all`.
"""

import os
from pathlib import Path

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import open_store
from tests.support.ai_platform_served import Served
from tests.support.ai_platform_server import AiPlatformServer
from tests.support.examined import write_examined
from tests.support.pipeline_runs import run_pipeline, small_data
from tests.support.stores import gcs

__all__ = ["gcs"]
PIPELINE = f"{Path(__file__).with_name('ai_platform_pipeline.py')}:train_and_deploy"


@pytest.mark.slow
def test_the_component_runs_under_kfp_local(gcs, tmp_path):
    registry = Registry("gs://bucket/registry")
    registry.promote(*write_examined(tmp_path / "first", "first", saved_model=False))
    with AiPlatformServer() as server:
        found = run_pipeline(
            PIPELINE.replace(":train_and_deploy", ":deploy"),
            tmp_path / "run",
            registry=registry.uri,
            api_endpoint=server.url,
        )
    assert found["deploy-to-ai-platform"]["endpoint"].endswith("/endpoints/kfp-bert-production")
    assert registry.deployment("production").live_version == 1


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("KFP_BERT_ROUNDS") != "all", reason="trains three models in minutes")
def test_three_runs_of_the_pipeline_deploy_replace_and_revert(gcs, tmp_path):
    open_store("gs://bucket/data").upload(small_data(tmp_path, rows=1500), "lines.csv")
    registry = Registry("gs://bucket/registry")
    with AiPlatformServer() as server:
        served = server.cloud.predictor = Served(tmp_path)

        def run(epochs):
            return run_pipeline(
                PIPELINE,
                tmp_path / f"epochs-{epochs}",
                sources='["gs://bucket/data/lines.csv"]',
                registry=registry.uri,
                api_endpoint=server.url,
                epochs=epochs,
            )

        assert run(5)["compare-models"]["outcome"] == "PROMOTE"
        assert registry.deployment("production").live_version == 1
        assert run(7)["compare-models"]["outcome"] == "PROMOTE"
        assert registry.deployment("production").live_version == 2
        served.wrong = {3}
        with pytest.raises(UserError):
            run(12)
        record = registry.deployment("production")
        assert (record.state, record.version, record.live_version) == ("failed", 3, 2)
        endpoint = next(iter(server.cloud.endpoints.values()))
        assert list(endpoint.traffic_split.values()) == [100]
        assert endpoint.deployed_models[0].display_name.startswith("kfp-bert production v2")
    story = [event.text for event in registry.history()]
    print(*story, sep="\n")
    assert len(story) == 9
    assert story[-1].startswith(
        "The rollout of version 3 to production failed, and version 2 serves as before: its answer to "
    )
