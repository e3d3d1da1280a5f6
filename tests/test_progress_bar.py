"""The file that ARGO_PROGRESS_FILE names holds done and total of the work that a step is there for."""

import pytest

from kfp_bert_components.fetch import fetch
from kfp_bert_components.progress_bar import track


@pytest.fixture
def written(tmp_path, monkeypatch):
    path = tmp_path / "progress"
    monkeypatch.setenv("ARGO_PROGRESS_FILE", str(path))
    return path


def test_done_and_total_are_written_seldom_and_at_the_end(written):
    with track(100, "training", part=(0, 1), every=0) as bar:
        bar.update(30)
        first = written.read_text()
        bar.update(30)
        assert written.read_text() == first  # less than ten seconds later
        bar.update(40)
    assert written.read_text() == "100/100\n"


def test_the_second_trial_of_four_begins_at_a_quarter(written):
    with track(100, "training", part=(1, 4)) as bar:
        bar.update(50)
    assert written.read_text() == "150/400\n"


def test_other_work_of_a_step_is_not_written(written):
    with track(100, "reading") as bar:
        bar.update(50)
    assert not written.exists()


def test_where_it_can_not_be_written_work_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("ARGO_PROGRESS_FILE", str(tmp_path / "none" / "progress"))
    with track(100, "training", part=(0, 1)) as bar:
        bar.update(100)


def test_without_argo_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.delenv("ARGO_PROGRESS_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    with track(100, "training", part=(0, 1)) as bar:
        bar.update(100)
    assert not list(tmp_path.iterdir())


def test_fetching_writes_its_bytes(written, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_bytes(b"x" * 100)
    fetch([str(tmp_path / "in")], tmp_path / "out")
    assert written.read_text() == "100/100\n"
