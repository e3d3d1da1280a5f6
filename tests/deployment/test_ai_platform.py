"""Rollouts to AI Platform: the real client against a server that speaks the API."""

import re
from dataclasses import replace

import pytest
from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform import AiPlatformClient
from kfp_bert_components.deployment import RolloutError
from kfp_bert_components.errors import UserError
from tests.support.ai_platform_server import AiPlatformServer, Fault
from tests.support.rollouts import FEW, World
from tests.support.stores import gcs

__all__ = ["gcs"]


@pytest.fixture
def world(gcs):
    with AiPlatformServer() as server:
        yield World("gs://bucket/registry", server)


def test_the_first_rollout_makes_endpoint_and_model_and_gives_it_all_traffic(world):
    world.promote()
    live = world.deploy()
    assert live["version"] == 1
    assert world.state() == {
        "serving": {1: 100},
        "deployed": 1,
        "models": ["kfp-bert version 1"],
        "champion": ["kfp-bert version 1"],
        "record": ("live", 1),
    }
    assert world.endpoint.labels["kfp-bert-target"] == "production"


def test_the_second_version_gets_a_canary_first_and_replaces_the_first(world):
    world.promote()
    first = world.deploy()["facts"]["deployed"]
    world.promote()
    second = world.deploy()["facts"]["deployed"]
    assert world.server.cloud.splits[world.endpoint.name] == [
        {first: 100},
        {first: 80, second: 20},
        {first: 50, second: 50},
        {second: 100},
    ]
    assert world.state()["serving"] == {2: 100}
    assert world.state()["deployed"] == 1
    assert world.state()["champion"] == ["kfp-bert version 2"]


def test_a_champion_that_is_live_costs_at_most_five_calls_and_none_that_changes(world):
    world.promote()
    world.deploy()
    world.server.calls.clear()
    world.deploy()
    assert len(world.server.calls) <= 5
    assert world.server.changing_calls() == []


@pytest.mark.parametrize("fault", [Fault("GetEndpoint", times=2), Fault("GetEndpoint", "drop")])
def test_a_champion_that_is_live_is_left_alone_though_a_call_fails(world, fault):
    world.promote()
    world.deploy()
    world.server.faults, world.server.calls = [fault], []
    world.deploy()
    assert world.server.changing_calls() == []
    assert len(world.server.calls) <= 5


def test_a_wrong_model_is_reverted_and_the_record_says_why(world):
    world.promote()
    world.deploy()
    world.wrong = {world.promote()}
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy()
    assert world.state()["serving"] == {1: 100}
    assert world.state()["deployed"] == 1
    assert world.state()["champion"] == ["kfp-bert version 1"]
    record = world.registry.deployment("production")
    assert (record.state, record.version, record.live_version) == ("failed", 2, 1)
    assert "differs by" in record.reason


def test_a_first_model_that_is_wrong_leaves_an_endpoint_without_traffic(world):
    world.wrong = {world.promote()}
    with pytest.raises(RolloutError):
        world.deploy()
    assert world.state()["serving"] == {}
    assert world.state()["deployed"] == 0


def test_after_a_failure_the_next_run_tries_again(world):
    world.promote()
    world.deploy()
    world.wrong = {world.promote()}
    with pytest.raises(RolloutError):
        world.deploy()
    world.wrong = set()
    world.deploy()
    assert world.state()["serving"] == {2: 100}
    assert world.state()["models"] == ["kfp-bert version 1", "kfp-bert version 2"]


def test_rollback_uses_the_version_that_was_kept_warm(world):
    world.promote()
    first = world.deploy(keep_warm=True)["facts"]["deployed"]
    world.promote()
    world.deploy(keep_warm=True)
    assert world.state()["deployed"] == 2
    world.registry.rollback()
    world.server.calls.clear()
    assert world.deploy(keep_warm=True)["facts"]["deployed"] == first
    assert "DeployModel" not in world.server.calls
    assert "UploadModel" not in world.server.calls
    assert world.state()["serving"] == {1: 100}
    assert world.state()["champion"] == ["kfp-bert version 1"]


def test_another_machine_is_a_new_rollout_of_the_same_version(world):
    world.promote()
    first = world.deploy()["facts"]["deployed"]
    second = world.deploy(machine_type="n1-highmem-8")["facts"]["deployed"]
    assert first != second
    assert [one.id for one in world.endpoint.deployed_models] == [second]
    machine = world.endpoint.deployed_models[0].dedicated_resources.machine_spec
    assert machine.machine_type == "n1-highmem-8"


def test_traffic_that_somebody_moved_by_hand_is_corrected(world):
    world.promote()
    world.deploy(keep_warm=True)
    world.promote()
    world.deploy(keep_warm=True)
    old, new = (one.id for one in world.endpoint.deployed_models)
    world.server.cloud.split_traffic(world.endpoint, {old: 100})
    world.deploy(keep_warm=True)
    assert dict(world.endpoint.traffic_split) == {new: 100}


def test_a_slow_model_is_reverted(world):
    world.promote()
    world.deploy()
    world.promote()
    world.server.latency = SlowBut(first=next(iter(world.endpoint.traffic_split)))
    with pytest.raises(RolloutError, match="95th percentile"):
        world.deploy(smoke=replace(FEW, max_latency_seconds=0.2))
    assert world.state()["serving"] == {1: 100}


class SlowBut(dict):
    def __init__(self, first):
        super().__init__({first: 0.0})

    def get(self, key, default=None):
        return super().get(key, 0.25)


def test_a_model_that_fails_is_reverted(world):
    world.promote()
    world.deploy()
    first = next(iter(world.endpoint.traffic_split))
    world.promote()
    world.server.broken = AllBut(first)
    with pytest.raises(RolloutError, match="requests failed"):
        world.deploy()
    assert world.state()["serving"] == {1: 100}


class AllBut(set):
    def __init__(self, one):
        self.one = one

    def __contains__(self, key):
        return key != self.one


@pytest.mark.parametrize("outcome", ["fail", "hang", "late"])
@pytest.mark.parametrize("method", ["CreateEndpoint", "UploadModel", "DeployModel", "UndeployModel"])
def test_after_an_operation_that_fails_hangs_or_ends_late_the_next_run_completes(world, method, outcome):
    world.promote()
    if method != "CreateEndpoint":
        world.deploy()
        world.promote()
    before = world.versions_serving()
    world.server.cloud.outcomes = {method: outcome}
    with pytest.raises(UserError, match=r"the machine broke|did not end"):
        world.deploy(operation_seconds=0.2)
    assert world.versions_serving() == ({2: 100} if method == "UndeployModel" else before)
    world.server.cloud.outcomes = {}
    world.deploy(lease_seconds=0.3)
    last = 1 if method == "CreateEndpoint" else 2
    assert world.state() == {
        "serving": {last: 100},
        "deployed": 1,
        "models": [f"kfp-bert version {number}" for number in range(1, last + 1)],
        "champion": [f"kfp-bert version {last}"],
        "record": ("live", last),
    }


@pytest.mark.parametrize("outcome", ["fail", "hang"])
def test_a_deployment_that_fails_or_hangs_leaves_the_old_model(world, outcome):
    world.promote()
    world.deploy()
    world.promote()
    world.server.cloud.outcomes = {"DeployModel": outcome}
    with pytest.raises(RolloutError, match=r"the machine broke|did not end"):
        world.deploy(operation_seconds=0.3)
    assert world.state()["serving"] == {1: 100}
    assert world.state()["deployed"] == 1
    world.server.cloud.outcomes = {}
    world.deploy()
    assert world.state()["serving"] == {2: 100}
    assert world.state()["deployed"] == 1


def test_a_wait_reports_how_long_it_takes(world, capsys):
    world.promote()
    world.server.cloud.operation_seconds = 0.3
    world.deploy(report_seconds=0.0)
    lines = re.findall(r"^(.*): \d+ s$", capsys.readouterr().out, re.MULTILINE)
    assert set(lines) == {"creating endpoint kfp-bert-production", "uploading version 1", "deploying version 1"}


def test_a_dedicated_endpoint_is_asked_at_its_own_address(world, monkeypatch):
    world.promote()
    world.deploy(dedicated=True)
    assert world.endpoint.dedicated_endpoint_enabled
    assert world.versions_serving() == {1: 100}
    world.promote()
    predictions = AiPlatformClient.predictions
    monkeypatch.setattr(AiPlatformClient, "predictions", lambda client, dns: predictions(client))
    with pytest.raises(RolloutError, match="has another address"):
        world.deploy(dedicated=True)
    assert world.versions_serving() == {1: 100}


def test_a_dedicated_address_elsewhere_is_not_called_without_credentials():
    with pytest.raises(UserError, match="not on this machine"):
        AiPlatformClient("p", "region-1", "http://127.0.0.1:1").predictions("elsewhere.example:80")


def test_an_endpoint_is_found_by_id_and_a_number_that_is_none_is_refused(world):
    world.promote()
    world.deploy(endpoint="my-endpoint", dedicated=True, labels={"team": "a"})
    found = world.server.cloud.endpoints["projects/p/locations/region-1/endpoints/my-endpoint"]
    assert found.dedicated_endpoint_enabled
    assert found.labels["team"] == "a"
    with pytest.raises(UserError, match="no endpoint 123"):
        world.deploy(endpoint="123")


def test_an_endpoint_is_found_by_a_label_and_two_that_have_it_are_refused(world):
    world.promote()
    world.deploy(endpoint="label:team=a")
    world.promote()
    world.deploy(endpoint="label:team=a")
    (found,) = world.server.cloud.endpoints.values()
    assert found.labels["team"] == "a"
    assert [one.display_name.split()[2] for one in found.deployed_models] == ["v2"]
    world.server.cloud.endpoints[f"{found.name}-copy"] = v1.Endpoint(found, name=f"{found.name}-copy")
    world.promote()
    with pytest.raises(UserError, match="Several endpoints have the label team=a: give one by its id"):
        world.deploy(endpoint="label:team=a")


def test_settings_reach_the_api(world):
    world.promote()
    world.deploy(
        accelerator_type="NVIDIA_TESLA_T4",
        accelerator_count=1,
        min_replicas=2,
        max_replicas=3,
        service_account="a@b",
        encryption_key="projects/p/locations/region-1/keyRings/r/cryptoKeys/k",
        request_log_table="bq://p.d.t",
        request_log_rate=0.5,
        labels={"team": "a"},
        image="region-docker.pkg.dev/p/kfp-bert-components/tensorflow:1",
    )
    one = world.endpoint.deployed_models[0]
    assert one.service_account == "a@b"
    assert one.dedicated_resources.min_replica_count == 2
    assert one.dedicated_resources.max_replica_count == 3
    assert one.dedicated_resources.machine_spec.accelerator_type.name == "NVIDIA_TESLA_T4"
    logging = world.endpoint.predict_request_response_logging_config
    assert (logging.enabled, logging.sampling_rate) == (True, 0.5)
    assert world.endpoint.encryption_spec.kms_key_name.endswith("/k")
    model = next(iter(world.server.cloud.models.values()))[0]
    assert model.artifact_uri == "gs://bucket/registry/versions/1/bundle"  # our own server chooses the engine
    assert model.container_spec.command[:2] == ["kfp-bert", "serve"]
    assert model.encryption_spec.kms_key_name.endswith("/k")
    assert world.endpoint.labels["team"] == model.labels["team"] == "a"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"canary_percent": 0}, "canary_percent"),
        ({"traffic_steps": (50, 40, 100)}, "traffic_steps"),
        ({"traffic_steps": (50, 90)}, "traffic_steps"),
        ({"min_replicas": 0}, "min_replicas"),
        ({"min_replicas": 3}, "max_replicas is 1"),
        ({"request_log_rate": 2.0}, "request_log_rate"),
        ({"drain_seconds": float("nan")}, "drain_seconds"),
        ({"accelerator_type": "X"}, "belong together"),
        ({"accelerator_type": "X", "accelerator_count": 1}, "knows no accelerator"),
        ({"staging": "/tmp"}, "gs://"),
        ({"model_id": "My Model"}, "lower-case"),
        *(({name: 10**12}, f"{name} is 1000000000000, but") for name in ("min_replicas", "max_replicas")),
        ({"accelerator_type": "NVIDIA_TESLA_T4", "accelerator_count": 2**31}, "accelerator_count is 2147483648, but"),
        *(({"project": name}, "^project is .*: expected the id") for name in ("projects/p", "p/", " p", "p\n", "")),
        *(({"location": name}, "^location is .*: expected the name") for name in ("locations/region-1", "r ", "", "R")),
    ],
)
def test_bad_settings_are_refused_with_a_sentence(world, change, says):
    world.promote()
    with pytest.raises(UserError, match=says):
        world.deploy(**change)


def test_a_rollout_with_another_machine_that_fails_does_not_say_that_the_version_before_is_gone(world):
    world.promote()
    first = world.deploy()["facts"]["deployed"]
    world.wrong = {1}
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy(machine_type="n1-standard-8")
    record = world.registry.deployment("production")
    assert dict(world.endpoint.traffic_split) == {first: 100}
    assert (record.state, record.live_version, record.live_served) == ("failed", 1, first)


def test_after_a_failure_a_version_that_somebody_undeployed_is_not_said_to_serve(world):
    world.promote()
    world.deploy()
    world.promote()

    def undeploy(number, method):
        if method == "UploadModel":
            world.endpoint.traffic_split.clear()
            del world.endpoint.deployed_models[:]

    world.server.on_call, world.wrong = undeploy, {2}
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy()
    record = world.registry.deployment("production")
    assert (record.state, record.live_version) == ("failed", None)
