"""Drift is measured against what the registry's champion was trained on."""

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.steps.reference import read_reference


def test_a_registry_that_has_only_counted_uses_has_no_champion_yet(tmp_path):
    (tmp_path / "test_sets").mkdir()
    (tmp_path / "test_sets" / "abc.json").write_text("{}")
    found, why = read_reference(str(tmp_path))
    assert found is None
    assert "no champion yet" in why


def test_a_folder_that_is_no_registry_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match="neither data_profile.json nor a registry"):
        read_reference(str(tmp_path))
