"""Which model of AI Platform's registry is which version: what is uploaded, found again, or deleted as a copy."""

import time

import pytest
from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform.settings import PREBUILT_IMAGE
from kfp_bert_components.deployment import RolloutError
from tests.support.ai_platform_server import AiPlatformServer
from tests.support.places import MODEL
from tests.support.rollouts import World
from tests.support.stores import gcs

__all__ = ["gcs"]


@pytest.fixture
def world(gcs):
    with AiPlatformServer() as server:
        yield World("gs://bucket/registry", server)


def test_an_upload_that_ends_late_is_found_by_the_next_run(world):
    world.promote()
    world.server.cloud.outcomes = {"UploadModel": "late"}
    with pytest.raises(RolloutError, match="did not end"):
        world.deploy(operation_seconds=0.1)
    world.server.cloud.outcomes = {}
    world.deploy()
    assert world.state()["models"] == ["kfp-bert version 1"]


def test_another_serving_image_is_another_upload_and_is_what_serves(world):
    world.promote()
    world.deploy()
    image = "europe-docker.pkg.dev/p/kfp-bert-components/server:1"
    for asked, expected, uploads in ((image, image, 2), (image, image, 2), ("", PREBUILT_IMAGE, 2), (image, image, 2)):
        assert world.deploy(image=asked)["version"] == 1
        models = world.server.cloud.models[MODEL]
        (serving,) = world.endpoint.deployed_models
        (upload,) = [model for model in models if model.version_id == serving.model_version_id]
        assert upload.container_spec.image_uri == expected
        assert len(models) == uploads and world.state()["serving"] == {1: 100}
    assert world.server.cloud.models[MODEL][1].artifact_uri.endswith("/versions/1/bundle")


def test_an_upload_from_before_containers_had_a_label_is_known_by_its_image(world):
    world.promote()
    world.deploy()
    (upload,) = world.server.cloud.models[MODEL]
    del upload.labels["kfp-bert-container"]
    world.deploy(machine_type="n1-standard-8")
    assert world.server.cloud.models[MODEL] == [upload]
    world.deploy(image="europe-docker.pkg.dev/p/other:1")
    assert len(world.server.cloud.models[MODEL]) == 2


def test_an_upload_is_known_by_its_label_where_the_service_does_not_tell_its_container(world):
    world.promote()
    world.deploy()
    (upload,) = world.server.cloud.models[MODEL]
    upload.container_spec = v1.ModelContainerSpec()
    world.deploy(machine_type="n1-standard-8")
    assert world.server.cloud.models[MODEL] == [upload]


@pytest.mark.parametrize("gone", [False, True])
def test_a_copy_of_an_upload_that_another_target_deletes_first_is_no_failure(world, monkeypatch, gone):
    world.promote()
    world.deploy(target="staging")
    cloud = world.server.cloud
    (upload,) = cloud.models[MODEL]
    cloud.models[MODEL].append(v1.Model(v1.Model.wrap(v1.Model.pb(upload)), version_id="2", version_aliases=[]))
    delete, seconds = cloud.delete_model_version, cloud.operation_seconds

    def delete_after_another(request):
        cloud.operation_seconds = 0.0 if gone else seconds
        delete(request)
        cloud.operation_seconds = seconds
        cloud.call("ListModelVersions", v1.ListModelVersionsRequest(name=MODEL))  # what is over takes effect
        return delete(request)

    monkeypatch.setattr(cloud, "delete_model_version", delete_after_another)
    world.deploy()
    assert world.state()["record"] == ("live", 1) and world.state()["serving"] == {1: 100}
    time.sleep(seconds)
    cloud.call("ListModelVersions", v1.ListModelVersionsRequest(name=MODEL))
    assert [one.version_id for one in cloud.models[MODEL]] == ["1"]
