import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kfp_bert_components.local.results import read_outputs

PIPELINES = Path(__file__).with_name("small_pipelines.py")


def command(function, *params, root, python=sys.executable):
    words = [word for param in params for word in ("--param", param)]
    return [
        str(python),
        "-m",
        "kfp_bert_components.cli",
        "run",
        f"{PIPELINES}:{function}",
        *words,
        "--root",
        str(root),
    ]


def run(function, *params, root):
    return subprocess.run(command(function, *params, root=root), capture_output=True, text=True, timeout=120)


def test_a_run_shows_each_step_its_progress_and_where_its_outputs_lie(tmp_path):
    done = run("counting", "to=3", root=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^> count$", done.stdout, re.MULTILINE)
    assert "counting 3/3 numbers (100 %)" in done.stdout
    assert re.search(r"^count  ok  \d", done.stdout, re.MULTILINE)
    assert "executor_input" not in done.stdout
    folder = Path(re.search(r"^outputs: (.*)", done.stdout, re.MULTILINE)[1])
    assert (folder / "count" / "executor_output.json").exists()


def test_json_is_all_that_goes_to_the_standard_output(tmp_path):
    words = [*command("counting", "to=3", root=tmp_path), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    found = json.loads(done.stdout)
    assert found["outputs"] == {"count": {"Output": 3}} and found["pages"] == {}
    assert Path(found["folder"], "count").is_dir() and Path(found["log"]).is_file()
    assert "counting 3/3 numbers (100 %)" in done.stderr


def test_a_users_mistake_in_a_step_ends_as_one_sentence(tmp_path):
    done = run("failing", "how=user", root=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == (
        "error: fail: File lines.csv, row 3: the label is missing; add it or drop the row."
    )
    assert "Traceback" not in done.stdout + done.stderr


def test_another_failure_shows_its_traceback_once(tmp_path):
    done = run("failing", "how=other", root=tmp_path)
    assert done.returncode == 1
    assert (done.stdout + done.stderr).count("Traceback") == 1
    assert "RuntimeError: something broke" in done.stderr


def test_a_traceback_begins_in_the_component_and_the_log_has_all_of_it(tmp_path):
    done = run("fail", "how=other", root=tmp_path)
    files = re.findall(r'^  File "(.*)", line', done.stderr, re.MULTILINE)
    assert [Path(file).name for file in files] == ["ephemeral_component.py"]
    assert "runpy" not in done.stderr
    (log,) = tmp_path.glob("fail-*/log.txt")
    assert "kfp/dsl/executor.py" in log.read_text()


@pytest.mark.parametrize(
    ("how", "sentence"), [("3", "ended with status 3"), ("killed", "ended with status 137, as after SIGKILL")]
)
def test_a_step_that_says_nothing_fails_with_how_it_ended(tmp_path, how, sentence):
    done = run("fail", f"how={how}", root=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == f"error: fail: {sentence}"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing.yaml", "There is no file missing.yaml."),
        ("os:path", "os has no pipeline or component called 'path'."),
        ("no_such_module:p", "There is no module 'no_such_module'"),
        ("nonsense", "'nonsense' is no pipeline: give a .yaml file"),
        ("train_and_deploi", "'train_and_deploi' is no pipeline: did you mean 'train_and_deploy'?"),
        ("kfp_bert_components.pipelines:train_and_deply", "called 'train_and_deply': did you mean 'train_and_deploy'?"),
        (f"{PIPELINES.parent}/test_run.py", "is no pipeline: name the function in it, as "),
    ],
)
def test_what_is_no_pipeline_is_refused_in_a_sentence(name, sentence):
    done = subprocess.run(
        [sys.executable, "-m", "kfp_bert_components.cli", "run", name], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_leaves_nothing_running(tmp_path, sign):
    with subprocess.Popen(
        command("sleeping", f"folder={tmp_path}", root=tmp_path / "root"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        step = _wait_for_pid(tmp_path / "pid")
        process.send_signal(sign)
        _, errors = process.communicate(timeout=30)
    if sign != signal.SIGKILL:
        assert process.returncode == 130
        assert errors.strip() == "stopped"
    assert _ended(step)


def test_a_failing_component_alone_ends_as_one_sentence(tmp_path):
    done = run("fail", "how=user", root=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == (
        "error: fail: File lines.csv, row 3: the label is missing; add it or drop the row."
    )
    assert "Traceback" not in done.stdout + done.stderr


def test_a_component_that_needs_an_artifact_is_refused_in_a_sentence(tmp_path):
    done = run("read", root=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: A run cannot be given the artifact page")


@pytest.mark.parametrize("place", ["file/runs", "/sys"])
def test_a_folder_that_cannot_be_written_is_named_in_a_sentence(tmp_path, place):
    (tmp_path / "file").touch()
    root = tmp_path / place
    done = run("counting", "to=1", root=root)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: The folder {root} cannot hold the outputs of a run: ")
    assert len(done.stderr.splitlines()) == 1 and "--root of `kfp-bert run`" in done.stderr


def test_a_step_that_needs_its_image_is_refused_before_anything_runs(tmp_path):
    done = run("with_a_container", root=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: Step in-a-container is no lightweight Python component")
    assert list(tmp_path.iterdir()) == []


def test_the_exit_task_runs_after_a_failure_which_is_still_the_one_that_is_named(tmp_path):
    done = run("with_an_exit", root=tmp_path)
    assert done.returncode == 1
    assert "  it FAILED step fail failed\n" in done.stdout
    assert done.stderr.startswith("error: fail: File lines.csv, row 3: ")


def test_an_exit_task_that_fails_too_is_a_second_line(tmp_path):
    done = run("with_an_exit_that_fails", root=tmp_path)
    assert done.returncode == 1
    first, second, *_ = done.stderr.splitlines()
    assert first.startswith("error: fail: File lines.csv, row 3: ")
    assert second == "fail-last: Jobs of this run may go on."


def test_an_importer_is_shown_as_a_step(tmp_path):
    done = run("importing", f"uri={PIPELINES}", root=tmp_path)
    assert re.findall(r"^(\S+)  ok  ", done.stdout, re.MULTILINE) == ["importer", "read"]


def test_each_run_keeps_its_log(tmp_path):
    for to in (1, 2):
        run("counting", f"to={to}", root=tmp_path)
    logs = sorted(tmp_path.glob("counting-*/log.txt"))
    assert [f"count | counting {to}/{to} numbers" in log.read_text() for to, log in zip((1, 2), logs, strict=True)]
    assert "\x1b" not in logs[0].read_text()


@pytest.mark.parametrize("fail", [False, True])
def test_what_a_step_prints_gives_no_orders_to_a_terminal(tmp_path, fail):
    done = run("painting", f"fail={fail}", root=tmp_path)
    (log,) = tmp_path.glob("painting-*/log.txt")
    for text in (done.stdout, log.read_text()):
        assert r"red \x1b[2Jcleared\x07 \u202eback" in text
    assert (r"RuntimeError: red \x1b[2Jcleared" in done.stderr) == fail
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", done.stdout + done.stderr + log.read_text())


def test_a_failed_run_names_its_own_log(tmp_path):
    done = run("failing", "how=other", root=tmp_path)
    log = Path(re.search(r"^The whole log: (.*)", done.stderr, re.MULTILINE)[1])
    assert "fail | RuntimeError: something broke" in log.read_text()
    assert log.parent.parent == tmp_path


def test_the_end_names_decision_and_pages(tmp_path):
    done = run("reporting", root=tmp_path)
    assert "decision of decide: HOLD: It is [no] better.\\x07\n" in done.stdout
    page = Path(re.search(r"^write page: (.*)", done.stdout, re.MULTILINE)[1])
    assert page.suffix == ".html"
    assert "a page" in page.read_text()
    assert Path(re.search(r"^log: (.*)", done.stdout, re.MULTILINE)[1]).exists()


def test_a_traceback_that_a_step_survives_is_shown(tmp_path):
    done = run("warning", root=tmp_path)
    assert done.returncode == 0
    assert "ValueError: not so bad" in done.stdout
    assert "went on" in done.stdout


def test_a_step_that_succeeds_when_tried_again_is_no_failure(tmp_path):
    done = run("trying_again", f"folder={tmp_path}", root=tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("fail-once  ")] == ["failed", "ok"]


def test_a_step_gets_its_arguments_as_they_are_and_runs_in_this_interpreter(tmp_path):
    text = "/opt/lib/python3.11/a python3 'file' \"x\".csv"
    run("passing_arguments", f"text={text}", root=tmp_path)
    (folder,) = tmp_path.iterdir()
    came, _, interpreter = read_outputs(folder)["arguments"]["Output"].rpartition(" ")
    assert came == text
    assert Path(interpreter).samefile(sys.executable)
    assert Path(interpreter).parent == Path(sys.executable).parent


def test_a_step_has_its_environment_variables_and_an_empty_stdin(tmp_path):
    done = run("greeting", root=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.iterdir()
    assert read_outputs(folder)["surroundings"]["Output"] == "hello"


def test_steps_run_in_an_interpreter_of_another_name_than_python3(tmp_path):
    python = tmp_path / "it's here" / "snake"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    subprocess.run(
        command("passing_arguments", "text=", root=tmp_path / "runs", python=python),
        check=True,
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    (folder,) = (tmp_path / "runs").iterdir()
    assert read_outputs(folder)["arguments"]["Output"].strip() == str(python)


def test_the_quickstart_names_a_folder_that_cannot_be_written():
    done = subprocess.run(
        [sys.executable, "-m", "kfp_bert_components.cli", "quickstart", "--folder", "/sys/quickstart"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: The folder /sys/quickstart/runs cannot hold the outputs of a run: ")


def _wait_for_pid(path):
    for _ in range(600):
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.1)
    raise AssertionError("the step did not start")


def _ended(pid):
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False
