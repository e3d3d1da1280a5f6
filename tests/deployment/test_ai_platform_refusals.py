"""What a run to AI Platform refuses, it refuses before it changes anything, and a dry run in the same words."""

import re
from dataclasses import replace

import pytest
from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform import deploy_to_ai_platform
from kfp_bert_components.deployment import LeaseLostError, RolloutError
from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry
from tests.support.ai_platform_server import AiPlatformServer
from tests.support.examined import write_examined
from tests.support.models import write_candidate
from tests.support.places import MODEL
from tests.support.rollouts import FEW, QUICK, World
from tests.support.stores import gcs

__all__ = ["gcs"]


@pytest.fixture
def server(gcs):
    with AiPlatformServer() as server:
        yield server


@pytest.fixture
def registry(server, tmp_path):
    """A registry on a disk, which AI Platform can't read, with a champion."""
    registry = Registry(str(tmp_path / "registry"))
    registry.promote(*write_examined(tmp_path / "first", "first", saved_model=False))
    return registry


def deploy(registry, server, dry_run=False, lease_seconds=60.0, **changes):
    """The lines of one run."""
    lines = []
    deploy_to_ai_platform(
        registry.uri,
        replace(QUICK, **changes),
        smoke=FEW,
        api_endpoint=server.url,
        dry_run=dry_run,
        lease_seconds=lease_seconds,
        poll_seconds=0.005,
        pause_seconds=0.005,
        report=lines.append,
    )
    return lines


def refused(registry, server, **changes):
    """What a dry run and a run say, where neither changes anything."""
    record, said = registry.deployment("production"), []
    server.calls.clear()
    for dry_run in (True, False):
        with pytest.raises(UserError) as error:
            deploy(registry, server, dry_run, **changes)
        said.append(str(error.value))
    assert said[0] == said[1]
    assert server.changing_calls() == [] and registry.deployment("production") == record
    return said[0]


# The staging folder


def test_a_registry_that_ai_platform_cannot_read_needs_a_staging_folder(registry, server):
    assert "is not on gs://, so AI Platform cannot read it: give a gs:// folder" in refused(registry, server)


@pytest.mark.parametrize(
    ("staging", "told"),
    [
        ("gs://nowhere/staging", "staging gs://nowhere/staging can't be written: .*bucket .*nowhere"),
        ("gs://locked/staging", "staging gs://locked/staging can't be written: .*storage.objects.create"),
    ],
)
def test_a_staging_folder_that_cannot_be_written_is_refused(registry, server, gcs, staging, told):
    gcs.create_bucket("locked", forbidden={"storage.objects.create"})
    assert re.match(told, refused(registry, server, staging=staging))


def test_a_dry_run_leaves_nothing_in_the_staging_folder(registry, server, gcs):
    assert "would upload version 1" in deploy(registry, server, dry_run=True, staging="gs://bucket/staging")
    assert gcs.names("bucket") == []


def test_what_is_uploaded_already_needs_no_staging_folder(registry, server):
    deploy(registry, server, staging="gs://bucket/staging")
    assert f"would use model version {MODEL}@1" in deploy(registry, server, True, machine_type="n1-highmem-8")
    deploy(registry, server, machine_type="n1-highmem-8")


# The version


def test_a_version_that_cannot_be_tested_is_refused(server, tmp_path):
    registry = Registry("gs://bucket/registry")
    registry.promote(*write_candidate(tmp_path))
    assert refused(registry, server) == "The evaluation of version 1 holds no texts to test it with."


def test_a_version_that_the_registry_lost_is_refused(registry, server):
    registry.store.delete("versions/1/version.json")
    assert "has no version 1" in refused(registry, server, staging="gs://bucket/staging")


# The endpoint


@pytest.mark.parametrize("endpoint", ["1abc", "mood-", "m" * 64])
def test_an_id_that_no_new_endpoint_can_have_is_refused(registry, server, endpoint):
    said = refused(registry, server, endpoint=endpoint, staging="gs://bucket/staging")
    assert said.startswith(f"There is no endpoint {endpoint} in projects/p/locations/region-1: give one that is there")


def test_two_of_ours_for_which_others_leave_one_percent_are_refused(registry, server, tmp_path):
    deploy(registry, server, staging="gs://bucket/staging")
    (endpoint,) = server.cloud.endpoints.values()
    (ours,) = endpoint.deployed_models
    endpoint.deployed_models.append(v1.DeployedModel(ours, id="77"))
    server.cloud.split_traffic(endpoint, {ours.id: 1, "77": 99})
    champion = registry.champion()
    known = (champion.version, champion.generation)
    registry.promote(*write_examined(tmp_path / "second", "second", champion=known, saved_model=False))
    assert "get 99 % of the traffic (77)" in refused(registry, server, staging="gs://bucket/staging")


def test_a_lease_without_a_duration_is_refused(registry, server):
    assert "lease_seconds is 0" in refused(registry, server, lease_seconds=0)


# A rollout under way


def stop(words):
    def report(line):
        if words in line:
            raise LeaseLostError("stopped")

    return report


def under_way(world, words, **given):
    """Let a run end where it says `words`."""
    with pytest.raises(LeaseLostError):
        world.deploy(report=stop(words), **given)


def plan(world, **changes):
    return deploy(world.registry, world.server, True, **changes)


def test_a_dry_run_says_only_what_is_left_to_do(world):
    (first,) = (one.id for one in world.endpoint.deployed_models)
    under_way(world, "version 2: testing")
    second = world.endpoint.deployed_models[1].id
    using = [f"would use endpoint {world.endpoint.name}", f"would use model version {MODEL}@2"]
    using += [f"would use deployed model {second}, which is there already"]
    half, whole = (
        f"would set the traffic to {{'{first}': 50, '{second}': 50}}",
        f"would set the traffic to {{'{second}': 100}}",
    )
    ending = [whole, f"would undeploy {first}"]
    tested = "would test it with texts of the test split"
    went_on = "would go on with the rollout of version 2, which is "
    assert plan(world) == [f"{went_on}testing", *using, tested, half, *ending]
    under_way(world, "gets 50 %")
    assert plan(world) == [f"{went_on}shifting", *using, *ending]
    under_way(world, "version 2: finishing")
    assert plan(world) == [f"{went_on}finishing", f"would undeploy {first}"]
    world.deploy()
    assert plan(world) == ["version 2 is live already: nothing to do"]


def test_a_dry_run_refuses_what_comes_after_a_version_is_taken_back(world):
    other = World("gs://bucket/other", world.server)
    other.promote()
    other.deploy(endpoint="theirs", model_id="theirs")
    under_way(world, "gets 50 %")
    world.registry.rollback()
    world.server.calls.clear()
    lines = []
    with pytest.raises(UserError, match="models/theirs belongs to") as dry:
        deploy_to_ai_platform(
            world.registry.uri,
            replace(QUICK, model_id="theirs"),
            api_endpoint=world.server.url,
            dry_run=True,
            report=lines.append,
        )
    assert world.changes() == [] and lines == ["would take back version 2, which is shifting"]
    with pytest.raises(RolloutError) as real:
        world.deploy(model_id="theirs")
    assert str(real.value) == str(dry.value)
    assert world.state()["serving"] == {1: 100} and world.state()["deployed"] == 1
