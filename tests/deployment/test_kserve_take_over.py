"""InferenceServices of others: refused, or taken over and given back, and none of their secrets in a record."""

import json

import pytest

from kfp_bert_components.deployment import ForeignOwnerError, LeaseLostError, RolloutError
from kfp_bert_components.kserve import KServeSettings, deploy_to_kserve
from tests.support.kserve_rollouts import MODES, NAME, NAMESPACE, NEXT, SERVICES, STANDARD, container
from tests.support.kserve_worlds import empty, world

__all__ = ["empty", "world"]


BEFORE = f"{NAME}-before"


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.mark.parametrize("name", [NAME, NEXT, BEFORE])
@pytest.mark.parametrize("labels", [{}, {"kfp-bert-registry": "another", "kfp-bert-target": "production"}])
def test_a_foreign_one_is_refused_before_anything_is_written(empty, name, labels):
    foreign = {"containers": [{"name": "kserve-container", "image": "theirs"}]}
    empty.server.cluster.store.create(
        SERVICES,
        {"metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}, "spec": {"predictor": foreign}},
    )
    with pytest.raises(ForeignOwnerError, match=f"The InferenceService default/{name}"):
        empty.deploy()
    assert empty.changes() == []


@pytest.mark.parametrize("name", [NEXT, BEFORE])
def test_take_over_takes_no_other_than_the_one_that_is_named(secret, name):
    theirs = {"name": name, "namespace": NAMESPACE, "labels": {"team": "others"}}
    secret.server.cluster.store.create(SERVICES, {"metadata": theirs, "spec": secret.service()["spec"]})
    with pytest.raises(ForeignOwnerError, match=f"default/{name} has no label kfp-bert-registry.*give another name"):
        secret.deploy(take_over=True)
    assert secret.changes() == [] and secret.service(name)["metadata"]["labels"] == {"team": "others"}


def test_a_foreign_one_that_is_taken_over_and_fails_is_theirs_again(empty):
    theirs = {"name": "kserve-container", "image": "theirs", "env": [{"name": "STORAGE_URI", "value": "pvc://c/m"}]}
    metadata = {"name": NAME, "namespace": NAMESPACE, "labels": {"team": "theirs"}}
    empty.server.cluster.store.create(
        SERVICES, {"metadata": metadata, "spec": {"predictor": {"containers": [theirs], "minReplicas": 1}}}
    )
    empty.wrong = {1}
    with pytest.raises(RolloutError):
        empty.deploy(take_over=True)
    assert container(empty.service())["image"] == "theirs"
    empty.wrong = set()
    empty.deploy(take_over=True)
    assert empty.state()["serving"] == {1: 100}


@pytest.fixture
def secret(empty):
    """One of others, whose environment has a secret; kubectl has noted it in an annotation, too."""
    variables = [{"name": "STORAGE_URI", "value": "pvc://c/m?t=s3cret"}, {"name": "TOKEN", "value": "s3cret"}]
    predictor = {"containers": [{"name": "kserve-container", "image": "theirs", "env": variables}], "minReplicas": 1}
    noted = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(predictor)}
    metadata = {"name": NAME, "namespace": NAMESPACE, "labels": {"team": "theirs"}, "annotations": noted}
    empty.server.cluster.store.create(SERVICES, {"metadata": metadata, "spec": {"predictor": predictor}})
    return empty


def record_of(world):
    return world.registry.store.read("deployments/production.json").data.decode()


@STANDARD
def test_values_of_variables_are_in_no_record_and_no_line_and_come_back(secret):
    before, records, lines = container(secret.service()), [], []

    def look(number, call):
        if (call.verb, call.name) == ("patch", NAME):
            records.append(record_of(secret))
            secret.wrong = {1}  # its pods answer wrongly, so that it is written back

    secret.server.on_call = look
    with pytest.raises(RolloutError, match="differs by"):
        secret.deploy(take_over=True, report=lines.append)
    assert container(secret.service())["env"] == before["env"]
    records.append(record_of(secret))
    assert f"patch inferenceservices {NAME}" in secret.changes()
    assert not any("s3cret" in one for one in [*records, *lines])
    assert secret.state()["services"] == [NAME]


@STANDARD
def test_values_of_variables_come_back_where_another_run_takes_the_version_back(secret):
    before, asked = container(secret.service()), []

    def stop(line):
        asked.append(line) if "asked at" in line else None
        if len(asked) == 2:  # the first InferenceService
            raise LeaseLostError("stopped")

    with pytest.raises(LeaseLostError):
        secret.deploy(take_over=True, report=stop)
    assert container(secret.service())["env"] != before["env"]
    secret.wrong = {secret.promote()}
    with pytest.raises(RolloutError, match="Version 2"):
        secret.deploy(take_over=True)
    assert container(secret.service())["env"] == before["env"]
    assert "s3cret" not in record_of(secret) and secret.state()["services"] == [NAME]
    secret.wrong = set()
    secret.deploy(take_over=True)
    assert secret.state() == {"serving": {2: 100}, "services": [NAME], "record": ("live", 2)}


@STANDARD
def test_where_somebody_deletes_the_copy_of_the_values_it_is_said(secret):
    def lose(number, call):
        if (call.verb, call.name) == ("patch", NAME):
            secret.wrong = {1}
            secret.server.cluster.store.delete(SERVICES, NAMESPACE, f"{NAME}-before")

    secret.server.on_call = lose
    with pytest.raises(RolloutError, match=f"were in the InferenceService {NAME}-before, which somebody deleted"):
        secret.deploy(take_over=True)
    assert NEXT not in secret.state()["services"]


def test_a_dry_run_shows_no_values_of_variables(secret):
    lines = []
    settings = KServeSettings(NAME, NAMESPACE, take_over=True)
    deploy_to_kserve(
        "gs://bucket/registry", settings, api_endpoint=secret.server.url, dry_run=True, report=lines.append
    )
    assert any("(hidden)" in line for line in lines) and any("versions/1/bundle" in line for line in lines)
    assert not any("s3cret" in line for line in lines)
