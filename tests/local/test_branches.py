"""Branches and loops run here as they do on a cluster."""

import re

import pytest
from rich.console import Console

from kfp_bert_components.errors import UserError
from kfp_bert_components.local.pipelines import compile_pipeline
from kfp_bert_components.local.results import read_outputs
from kfp_bert_components.local.show import show_run
from tests.local.test_run import PIPELINES, run


def steps(done):
    """Names of the steps that ran, without their numbers, in order."""
    assert done.returncode == 0, done.stderr
    return re.findall(r"^> (.*?)(?:-\d+)?$", done.stdout, re.MULTILINE)


def said(done):
    return sorted(set(re.findall(r"^ +(?:\S+ \| )?(\w+(?: \w+)?) 19$", done.stdout, re.MULTILINE)))


@pytest.mark.parametrize(("number", "texts"), [(1, []), (11, ["large", "nested"]), (12, ["large", "nested", "twelve"])])
def test_a_branch_on_a_named_output_runs_if_its_condition_holds(tmp_path, number, texts):
    assert said(run("branching", f"number={number}", root=tmp_path)) == texts


def test_a_branch_that_is_skipped_is_shown_with_its_reason(tmp_path):
    done = run("branching", "number=1", root=tmp_path)
    assert "skipped: look-large == true does not hold, because look-large is False" in done.stdout
    (log,) = tmp_path.glob("branching-*/log.txt")
    assert "skipped: look-large == true does not hold" in log.read_text()


@pytest.mark.parametrize(("number", "text"), [(1, "small"), (7, "seven"), (11, "large")])
def test_one_of_gives_parameter_and_artifact_of_the_branch_that_ran(tmp_path, number, text):
    done = run("choosing", f"number={number}", root=tmp_path)
    assert said(done) == [text]
    (folder,) = tmp_path.iterdir()
    assert f"<title>{text}</title>" in read_outputs(folder)["read"]["Output"]


def test_a_loop_over_a_named_output_gives_its_body_the_item_and_what_comes_from_outside(tmp_path):
    done = run("looping", root=tmp_path)
    assert said(done) == ["a outside", "b outside", "c outside", "outside"]
    assert sorted(step for step in steps(done) if "iteration-1" in step) == ["for-loop-1-iteration-1/say"] * 2


def test_a_loop_over_the_item_of_a_loop_takes_the_items_of_that_item(tmp_path):
    done = run("looping_in_loops", root=tmp_path)
    assert said(done) == ["deep a", "deep b", "deep c"]


def test_a_loop_over_artifacts_takes_each(tmp_path):
    done = run("looping_over_artifacts", root=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.iterdir()
    outputs = read_outputs(folder)
    read = [outputs[f"for-loop-1-iteration-{i}/read"]["Output"] for i in range(2)]
    assert ["<title>a<" in read[0], "<title>b<" in read[1]] == [True, True]


def test_a_loop_whose_artifacts_are_not_found_fails_and_is_not_skipped(tmp_path):
    spec_path = tmp_path / "pipeline.yaml"
    compile_pipeline(f"{PIPELINES}:looping_over_artifacts", spec_path)
    text = spec_path.read_text()
    items = "inputArtifact: pipelinechannel--write-all-Output"
    assert text.count(items) == 1
    spec_path.write_text(text.replace(items, "inputArtifact: pipelinechannel--write-all-Pages"))
    with pytest.raises(UserError, match="Pages"):
        show_run(spec_path, {}, tmp_path / "runs", Console(quiet=True))


@pytest.mark.parametrize(
    ("names", "collected"),
    [
        ('["a", "b"]', "['a', 'b'] ['a', 'b']"),
        ('["x", "b", "x"]', "['b'] ['b']"),
        ('["x"]', "[] []"),
        ("[]", "[] []"),
    ],
)
def test_what_a_loop_collects_is_what_its_passes_have_made(tmp_path, names, collected):
    done = run("collecting", f"names={names}", root=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.iterdir()
    assert read_outputs(folder)["join"]["Output"] == collected


def test_lines_of_steps_side_by_side_are_whole_and_say_whose_they_are(tmp_path):
    done = run("looping", root=tmp_path)
    (log,) = tmp_path.glob("looping-*/log.txt")
    for text, margin in ((done.stdout, "  "), (log.read_text(), "")):
        for i, name in enumerate("abc"):
            parts = re.findall(rf"^{margin}for-loop-1-iteration-{i}/say-2 \| {name} outside (\d+)$", text, re.MULTILINE)
            assert [int(part) for part in parts] == list(range(20))


def test_a_condition_that_cannot_be_decided_is_refused_before_anything_runs(tmp_path):
    done = run("unreadable", root=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: The condition ")
    assert "dsl.If" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_whole_numbers_in_texts_lists_and_dictionaries_have_no_point(tmp_path):
    done = run("whole_numbers", root=tmp_path)
    assert "given [1, 2] {'a': [3, 0.5]} 0.5" in done.stdout
    assert "item 7" in done.stdout and "skipped" not in done.stdout


def test_loops_over_constants_run_wherever_they_stand(tmp_path):
    done = run("looping_over_constants", root=tmp_path)
    loops = ["loop ce", "loop cf", "loop de", "loop df"]
    assert said(done) == ["both 7", "branch a", "branch b", "end", "exit g", *loops]


def test_a_key_of_an_item_has_its_value_wherever_it_stands(tmp_path):
    done = run("looping_over_keys", root=tmp_path)
    assert said(done) == ["both a1", "both b2", "constant c3", "deep xa", "one a", "yes"]


@pytest.mark.parametrize("pipeline", ["lacking_a_key", "lacking_a_key_of_a_text"])
def test_a_key_that_an_item_lacks_ends_the_run_with_its_cause(tmp_path, pipeline):
    done = run(pipeline, 'items=[{"title": "a"}, "a"]', root=tmp_path)
    assert re.search(r"^error: .* of a loop has no key 'letter': add it to each item\.$", done.stderr, re.MULTILINE)
    assert done.returncode == 1 and "say" not in done.stdout


def test_an_optional_parameter_without_a_value_is_none(tmp_path):
    done = run("with_optional_parameters", root=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "told None None 3" in done.stdout and "told None 7 3" in done.stdout
    assert "skipped: text == 'go' does not hold, because text is None" in done.stdout
