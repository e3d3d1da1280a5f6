"""Records of format 2 are read: so far the deployment record, beside the first formats of the files that came with it.

The samples in format2/ must never be changed.
"""

import shutil
from pathlib import Path

import pytest

from kfp_bert_components.deployment import Journal, open_versioned_folder
from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry

SAMPLES = Path(__file__).parent / "format2"


@pytest.fixture
def registry(tmp_path):
    shutil.copytree(SAMPLES / "registry", tmp_path / "registry")
    return Registry(str(tmp_path / "registry"))


def test_a_deployment_record_with_its_place_and_both_numbers(registry):
    record = registry.deployment("production")
    assert (record.state, record.version, record.served) == ("live", 3, "2")
    assert (record.live_version, record.live_served) == (3, "2")
    assert record.place == {"kind": "serving directory", "uri": "/serving"}
    assert record.by == "ann on pod-a" and len(record.log) == 6


def test_what_is_known_of_its_place_and_of_the_one_before(registry):
    here = Journal(registry, "production", place={"kind": "serving directory", "uri": "/serving"})
    assert (here.state, here.version, here.facts["number"], here.memory["served"]) == ("live", 3, 2, [1, 2])
    before = Journal(registry, "production", place={"kind": "serving directory", "uri": "/old"})
    assert (before.state, before.version, before.live["facts"]["number"]) == ("live", 1, 1)
    new = Journal(registry, "production", place={"kind": "serving directory", "uri": "/new"})
    assert (new.state, new.facts, new.live, new.memory) == ("pending", {}, {}, {})


def test_the_registrys_id_and_the_owner_of_a_folder(registry):
    owner, _ = open_versioned_folder(str(SAMPLES / "serving")).read_owner()
    assert (owner.registry, owner.target, owner.number) == (registry.id(), "production", 2)
    assert owner.registry_uri == "/registry"


def test_what_lies_in_the_folder():
    content = open_versioned_folder(str(SAMPLES / "serving")).content(2)
    assert (content.registry_version, content.fingerprint) == (3, "model third")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[:30], "is no JSON object"),
        (lambda text: text.replace(b'"format": 2', b'"format": 9'), "has format 9, and this version reads 1 and 2"),
        (lambda text: text.replace(b'"served"', b'"server"'), "is damaged: lacks 'served'"),
    ],
)
def test_a_damaged_or_newer_record_is_refused_by_its_name(registry, damage, says):
    name = "deployments/production.json"
    registry.store.write(name, damage(registry.store.read(name).data))
    with pytest.raises(UserError, match=f"production.json.*{says}"):
        registry.deployment("production")
