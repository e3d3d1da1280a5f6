"""Runs on this machine use finished steps of earlier runs again, where nothing changed that these depend on."""

import re
import shutil
from pathlib import Path

import pytest

from kfp_bert_components.local.events import StepReused, StepStarted
from kfp_bert_components.local.execute import execute
from kfp_bert_components.local.pipelines import compile_pipeline
from kfp_bert_components.local.results import name_pages, pages, read_outputs
from tests.local.test_run import run as run_command

PIPELINES = Path(__file__).with_name("small_pipelines.py")


@pytest.fixture
def run(tmp_path):
    """Run a pipeline by its name: the folder of the run, and the steps that ran and those that were used again."""

    def run(function, cache=True, **arguments):
        spec = tmp_path / "pipeline.yaml"
        compile_pipeline(f"{PIPELINES}:{function}", spec)
        with execute(spec, arguments, tmp_path / "runs", cache=cache) as running:
            events = list(running)
            assert running.ok
        ran = [event.step for event in events if isinstance(event, StepStarted)]
        return running.folder, ran, [event.step for event in events if isinstance(event, StepReused)]

    return run


def test_a_step_runs_again_only_where_its_inputs_changed(run):
    first, ran, again = run("counting", to=3)
    assert (ran, again) == (["count"], [])
    second, ran, again = run("counting", to=3)
    assert (ran, again) == ([], ["count"])
    assert read_outputs(second) == read_outputs(first) == {"count": {"Output": 3}}
    assert run("counting", to=4)[1] == ["count"]
    assert run("counting", cache=False, to=3)[1] == ["count"]


def test_a_step_with_an_artifact_that_has_no_file_is_used_again(run):
    assert run("scoring")[1] == ["score"]
    assert run("scoring")[1:] == ([], ["score"])


def test_the_passes_of_a_loop_and_their_pages_are_used_again(run):
    first, ran, _ = run("looping_over_artifacts")
    second, ran_again, again = run("looping_over_artifacts")
    assert ran_again == [] and sorted(again) == sorted(ran)
    assert read_outputs(second) == read_outputs(first)
    for folder in (first, second):
        name_pages(folder)
    assert pages(second).keys() == pages(first).keys() != set()


def test_a_step_whose_folder_was_removed_or_made_by_others_runs_again(run):
    first, _, _ = run("greeting")
    (step,) = [path for path in first.iterdir() if (path / "executor_output.json").exists()]
    shutil.rmtree(step)
    assert run("greeting")[1] == [step.name]
    third, _, again = run("greeting")
    assert again == [step.name]
    key = (third / step.name).resolve() / ".cache_key"
    key.write_text("of another step")
    assert run("greeting")[1] == [step.name]


@pytest.mark.long
def test_a_step_whose_outputs_were_edited_or_removed_runs_again_and_says_why(tmp_path):
    def shown():
        done = run_command("writing", root=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def page():
        return max(tmp_path.glob("writing-*/write")) / "page"

    shown()
    page().write_text(page().read_text().upper())
    assert f"write  not used again: page was changed since the run {page().parents[1].name}\n> write\n" in shown()
    page().unlink()
    assert "write  not used again: page was removed since the run" in shown()
    page().with_name("more").touch()
    assert "write  not used again: more was added since the run" in shown()
    assert "write  unchanged: used again" in shown()


def test_a_failed_step_is_not_used_again(run, tmp_path):
    done = run_command("failing", "how=user", root=tmp_path)
    again = run_command("failing", "how=user", root=tmp_path)
    assert done.returncode == again.returncode == 1
    assert done.stderr.splitlines()[0] == again.stderr.splitlines()[0]


def test_a_person_sees_from_which_run_a_step_is_and_can_run_all_of_them(tmp_path):
    run_command("counting", "to=3", root=tmp_path)
    again = run_command("counting", "to=3", root=tmp_path)
    (first,) = [path for path in tmp_path.glob("counting-*") if not (path / "count").is_symlink()]
    assert f"count  unchanged: used again from the run {first.name}\n" in again.stdout
    assert "> count" not in again.stdout


def test_a_step_of_a_loop_is_named_with_the_run_that_it_is_from(tmp_path):
    run_command("collecting", 'names=["a", "b"]', root=tmp_path)
    (first,) = tmp_path.glob("collecting-*")
    again = run_command("collecting", 'names=["b", "a"]', root=tmp_path)  # each pass is as the other one was before
    said = re.findall(r"iteration-.*/(?:say|write)  unchanged: used again from the run (.*)", again.stdout)
    assert set(said) == {first.name}
