"""Drift is measured against what the registry's champion was trained on."""

import pytest

from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.errors import DamagedError, UserError
from kfp_bert_components.steps.prepare_text_data import prepare_text_data
from kfp_bert_components.steps.reference import read_reference
from tests.support.broken_tables import rows, table


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


def test_a_file_that_is_no_profile_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match="neither data_profile.json nor a registry"):
        read_reference(str(tmp_path / "notes.txt"))


def test_a_registry_whose_champion_is_lost_is_no_registry_without_one(tmp_path):
    (tmp_path / "versions/1").mkdir(parents=True)
    (tmp_path / "versions/1/version.json").write_text('{"format": 1}')
    with pytest.raises(DamagedError):
        read_reference(str(tmp_path))


def test_a_place_without_a_champion_is_said(tmp_path, capsys):
    source, reference = tmp_path / "lines.csv", tmp_path / "nothing"
    source.write_text(table(rows()))
    places = [tmp_path / name for name in ("train", "validation", "test")]
    prepare_text_data(source, *places, settings=PrepareSettings(reference=str(reference)))
    assert f"compared with no others: {reference} has no champion yet." in capsys.readouterr().out
