"""A rollout to KServe: what is written, looked at, refused and left alone."""

import json

import pytest
import yaml

from kfp_bert_components import __version__
from kfp_bert_components.components.deploy_to_kserve import deploy_to_kserve as component
from kfp_bert_components.deployment import RolloutError
from kfp_bert_components.errors import UserError
from kfp_bert_components.kserve import KServeSettings, deploy_to_kserve
from tests.support import kserve_rollouts
from tests.support.kserve_rollouts import (
    MODES,
    NAME,
    NAMESPACE,
    NEXT,
    SERVICES,
    STANDARD,
    KServeWorld,
    change,
    container,
)
from tests.support.kserve_worlds import empty, world
from tests.support.kubernetes_resources import by_kind
from tests.support.kubernetes_server import KubernetesServer
from tests.support.kubernetes_store import DEPLOYMENTS

__all__ = ["empty", "world"]


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@STANDARD
def test_a_first_version_is_tested_before_its_service_is_made(empty):
    live = empty.deploy()
    assert empty.state() == {"serving": {1: 100}, "services": [NAME], "record": ("live", 1)}
    assert empty.changes() == [
        f"patch inferenceservices {NEXT}",
        f"patch inferenceservices {NAME}",
        f"delete inferenceservices {NEXT}",
    ]
    assert live["facts"]["witnesses"] == ["its Deployment", "its servers"]
    assert live["facts"]["served"].startswith(f"{NAME}-predictor-")


@STANDARD
def test_an_older_name_of_the_mode_is_no_difference(empty):
    empty.deploy(annotations={"serving.kserve.io/deploymentMode": "RawDeployment"})
    assert empty.changes().count(f"patch inferenceservices {NEXT}") == 1


def test_it_is_written_with_a_probe_the_model_and_its_owner(empty):
    empty.deploy(
        image="registry.example.com/serve:1",
        service_account="",
        min_replicas=2,
        max_replicas=3,
        cpu="500m",
        memory="1Gi",
        accelerator="nvidia.com/gpu",
        accelerator_count=1,
        node_selector={"pool": "gpu"},
        tolerations=[{"key": "gpu", "operator": "Exists"}],
        labels={"team": "films"},
        annotations={"note": "x"},
    )
    service = empty.service()
    metadata, predictor = service["metadata"], service["spec"]["predictor"]
    assert metadata["labels"] == {
        "team": "films",
        "kfp-bert-registry": empty.registry.id(),
        "kfp-bert-target": "production",
    }
    assert metadata["annotations"]["note"] == "x"
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 3)
    assert (predictor["nodeSelector"], predictor["tolerations"][0]["key"]) == ({"pool": "gpu"}, "gpu")
    one = container(service)
    assert one["image"] == "registry.example.com/serve:1"
    assert one["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": 8080}
    assert {"name": "STORAGE_URI", "value": "gs://bucket/registry/versions/1/bundle"} in one["env"]
    assert one["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": "1"}
    assert one["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": "1"}
    assert one["args"][-2:] == ["--model-name", NAME]


@STANDARD
def test_another_version_rolls_the_pods_once_and_leaves_labels_and_annotations(world):
    before = world.service()
    world.deploy()
    after = world.service()
    assert world.state() == {"serving": {2: 100}, "services": [NAME], "record": ("live", 2)}
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert after["metadata"]["annotations"] == before["metadata"]["annotations"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert world.changes().count(f"patch inferenceservices {NAME}") == 1


def test_another_model_under_the_number_that_is_served_is_rolled_out(empty, monkeypatch):
    registry, store = empty.registry, empty.registry.store
    monkeypatch.setattr(kserve_rollouts, "fingerprint", lambda number: registry.version(number).bundle_fingerprint)
    empty.deploy()
    backup = {entry.name: store.read(entry.name).data for entry in store.list()}
    empty.promote()
    empty.deploy()
    before = container(empty.service())["env"]
    for entry in store.list():
        store.delete(entry.name)
    for name, data in backup.items():
        store.write(name, data)
    assert empty.promote("another second one") == 2
    assert empty.deploy()["version"] == 2
    after = container(empty.service())["env"]
    assert [one["name"] for one in before if one not in after] == ["KFP_BERT_ROLLOUT"]  # the address is the same
    assert empty.versions_serving() == {2: 100}


def test_a_record_that_says_live_of_another_model_is_not_believed(empty, monkeypatch):
    registry, store = empty.registry, empty.registry.store
    monkeypatch.setattr(kserve_rollouts, "fingerprint", lambda number: registry.version(number).bundle_fingerprint)
    empty.deploy()
    record = store.read("deployments/production.json").data
    for entry in store.list():
        store.delete(entry.name)
    assert empty.promote("another first one") == 1
    store.write("deployments/production.json", record)
    empty.server.calls.clear()
    empty.deploy(take_over=True)  # registry.json is lost, too
    assert empty.changes() and empty.versions_serving() == {1: 100}


def test_a_champion_that_is_live_costs_at_most_five_calls_that_read(world):
    world.deploy()
    world.server.calls.clear()
    lines = []
    world.deploy(report=lines.append)
    assert lines == ["version 2 is live: nothing to do"]
    assert len(world.server.calls) <= 5 and world.changes() == []


@STANDARD
def test_a_wrong_version_never_gets_a_request_of_others(world):
    before, world.wrong = world.service(), {2}
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy()
    assert world.service()["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert world.state() == {"serving": {1: 100}, "services": [NAME], "record": ("failed", 2)}


def test_a_first_version_that_is_wrong_leaves_nothing(empty):
    empty.wrong = {1}
    with pytest.raises(RolloutError):
        empty.deploy()
    assert empty.state() == {"serving": {}, "services": [], "record": ("failed", 1)}


@STANDARD
def test_a_version_that_fails_under_load_of_others_is_taken_back(world):
    def break_after_shift(number, call):
        if (call.verb, call.name) == ("patch", NAME):
            world.wrong = {2}  # the pods of the first InferenceService load it from now on

    before, world.server.on_call = world.service(), break_after_shift
    with pytest.raises(RolloutError, match="differs by"):
        world.deploy()
    assert world.service()["spec"] == before["spec"]
    assert world.state() == {"serving": {1: 100}, "services": [NAME], "record": ("failed", 2)}


def test_other_settings_are_a_new_rollout_of_the_same_version(world):
    world.deploy()
    world.deploy(memory="2Gi")
    assert container(world.service())["resources"]["limits"]["memory"] == "2Gi"
    assert world.state()["record"] == ("live", 2)
    world.server.calls.clear()
    world.deploy(memory="2Gi", ready_seconds=20)
    assert world.changes() == []


def test_the_image_that_is_used_counts_and_so_the_version_of_the_package(world, monkeypatch):
    world.deploy()
    stamp, image = container(world.service())["env"][-1], container(world.service())["image"]
    world.server.calls.clear()
    world.deploy(image=image)
    assert world.changes() == []
    upgraded = image.replace(f":{__version__}", ":9.9.9")
    for module in ("settings", "objects"):
        monkeypatch.setattr(f"kfp_bert_components.kserve.{module}.IMAGE", upgraded)
    world.deploy()
    assert container(world.service())["image"] == upgraded
    assert container(world.service())["env"][-1] != stamp


def test_what_somebody_changed_is_found_by_looking(world):
    world.deploy()
    old = json.loads(json.dumps(container(world.service())).replace("/versions/2/", "/versions/1/"))
    change(world, NAME, containers=[old])
    world.deploy()
    assert world.state()["serving"] == {2: 100}


def test_a_service_that_was_deleted_is_made_again(world):
    world.deploy()
    world.server.cluster.store.delete(SERVICES, NAMESPACE, NAME)
    world.deploy()
    assert world.state()["serving"] == {2: 100}


def test_others_fields_stay(world):
    world.deploy()
    change(world, NAME, timeout=77)
    world.promote()
    world.deploy()
    assert world.service()["spec"]["predictor"]["timeout"] == 77


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
@pytest.mark.parametrize(
    "given",
    [
        {"cpu": "1000", "memory": "1024Mi"},
        {"cpu": "0.5", "cpu_limit": "1000m", "memory": "1.5Gi"},
        {"cpu": "1", "tolerations": [{"key": "gpu", "operator": "Exists", "value": "", "effect": ""}]},
    ],
    ids=["large", "parts", "empty"],
)
def test_amounts_that_the_api_writes_in_its_own_form_are_no_difference(empty, given):
    empty.server.cluster.node_cpu = 5000.0
    empty.deploy(**given)
    assert empty.state() == {"serving": {1: 100}, "services": [NAME], "record": ("live", 1)}
    empty.registry.store.delete("deployments/production.json")
    empty.server.calls.clear()
    empty.deploy(**given)
    assert f"patch inferenceservices {NAME}" not in empty.changes()


@STANDARD
def test_pods_of_another_image_are_not_live_whatever_the_service_says(world):
    world.deploy()
    cluster, name = world.server.cluster, f"{NAME}-predictor"

    def write(one):
        one["spec"]["template"]["spec"]["containers"][0]["image"] = "theirs:2"
        return one

    def report(line):
        lines.append(line)
        cluster.controller = True

    lines, cluster.controller = [], False  # which would write its own again
    cluster.store.change(DEPLOYMENTS, NAMESPACE, name, write)
    world.deploy(report=report)
    assert lines[0] == "version 2 is recorded as live, but it is not: rolling it out again"


def test_the_record_names_the_whole_place(world):
    world.deploy()
    place = world.registry.deployment("production").place
    uid = world.server.cluster.store.find(by_kind("Namespace"), "", NAMESPACE)["metadata"]["uid"]
    assert (place["kind"], place["namespace"], place["name"]) == ("KServe", NAMESPACE, NAME)
    assert place["cluster"] == uid
    world.deploy(name="other")
    record = world.registry.deployment("production")
    assert record.place["name"] == "other"
    assert [one.place["name"] for one in record.elsewhere()] == [NAME]


def test_a_dry_run_prints_the_difference_and_writes_nothing(world):
    lines = []
    settings = KServeSettings(NAME, NAMESPACE, cpu="100m", ready_seconds=10)
    served = deploy_to_kserve(
        "gs://bucket/registry", settings, api_endpoint=world.server.url, dry_run=True, report=lines.append
    )
    assert (served.url, served.revision, served.version) == ("", "", 2)
    changed = [line.replace(" ", "") for line in lines if line.startswith(("-", "+"))]
    assert {"-value:gs://bucket/registry/versions/1/bundle", "+value:gs://bucket/registry/versions/2/bundle"} < set(
        changed
    )
    assert world.changes() == []


@pytest.mark.parametrize("dry_run", [False, True])
def test_where_nothing_was_promoted_yet_the_component_says_so_and_succeeds(tmp_path, capsys, dry_run):
    with KubernetesServer() as server:
        server.cluster.add("Namespace", NAMESPACE)
        given = {"name": NAME, "namespace": NAMESPACE, "api_endpoint": server.url, "dry_run": dry_run}
        assert component.python_func(registry=str(tmp_path), **given) == ("", "")
    assert f"There is nothing to deploy: the registry {tmp_path} has no champion yet." in capsys.readouterr().out


def test_a_runtime_of_our_server_is_used_instead_of_a_container(empty):
    empty.server.cluster.add_runtime(
        args=["serve", "/mnt/models", "--host", "0.0.0.0", "--port", "8080", "--model-name={{.Name}}"]
    )
    empty.deploy(runtime="kfp-bert")
    model = empty.service()["spec"]["predictor"]["model"]
    assert (model["runtime"], model["storageUri"]) == ("kfp-bert", "gs://bucket/registry/versions/1/bundle")
    empty.promote()
    empty.deploy(runtime="kfp-bert")
    assert empty.state() == {"serving": {2: 100}, "services": [NAME], "record": ("live", 2)}
    with pytest.raises(RolloutError, match="can't be changed from one form to the other"):
        empty.deploy()


def test_a_registry_in_a_folder_needs_its_address_in_the_cluster(tmp_path):
    server = KubernetesServer(factor=200)
    world = KServeWorld(str(tmp_path / "registry"), server)
    with server:
        world.promote()
        with pytest.raises(UserError, match="which KServe can't read: give the registry's address"):
            world.deploy()
        server.cluster.add("PersistentVolumeClaim", "models")
        world.deploy(storage="pvc://models/registry/")
        env = container(world.service())["env"]
    assert {"name": "STORAGE_URI", "value": "pvc://models/registry/versions/1/bundle"} in env


def test_kserve_reads_a_registry_on_minio_by_its_other_scheme(empty):
    empty.deploy(storage="minio://bucket/registry")
    assert container(empty.service())["env"][0]["value"] == "s3://bucket/registry/versions/1/bundle"


def test_somebody_who_changes_the_service_meanwhile_is_not_overwritten(world):
    changed = []

    def touch(number, call):
        if (call.verb, call.name) == ("get", NAME) and len(changed) < 3:
            changed.append(number)
            change(world, NAME, timeout=60 + len(changed))

    world.server.on_call = touch
    world.deploy()
    assert world.state()["serving"] == {2: 100}
    assert world.service()["spec"]["predictor"]["timeout"] == 63


def test_while_the_controller_is_down_it_is_waited_for(world):
    lines, cluster = [], world.server.cluster

    def report(line):
        lines.append(line)
        if "waiting for it" in line:
            cluster.controller = True

    cluster.controller = False
    world.deploy(report=report)
    assert any("KServe's controller does not answer" in line for line in lines)
    assert world.state() == {"serving": {2: 100}, "services": [NAME], "record": ("live", 2)}


def test_the_runtime_in_the_docs_is_one_that_fits(empty):
    from tests.conftest import ROOT

    text = (ROOT / "docs" / "kserve.md").read_text()
    manifest = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    empty.server.cluster.add("ServingRuntime", manifest["metadata"]["name"], spec=manifest["spec"])
    empty.deploy(runtime=manifest["metadata"]["name"])
    assert empty.state()["serving"] == {1: 100}
