"""A mistake in the code of a pipeline is one sentence with its line."""

import subprocess
import sys

import pytest

HEAD = """from kfp import dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def say(text: str):
    print(text)


@dsl.pipeline
def pipeline():
    """


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (HEAD + 'sya(text="a")', """line 11 (sya(text="a")): NameError: name 'sya' is not defined"""),
        (HEAD + 'say(txt="a")', """line 11 (say(txt="a")): TypeError: say() got an unexpected keyword argument"""),
        (HEAD + "say(text=3)", "line 11 (say(text=3)): InconsistentTypeException: "),
        ("import no_such_module", "line 1 (import no_such_module): ModuleNotFoundError: No module named"),
        ("def pipeline(:", "line 1: SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", "line 1 (raise SystemExit(3)): SystemExit: 3"),
    ],
)
@pytest.mark.parametrize("named", ["{path}:pipeline", "mine:pipeline"])
def test_a_mistake_is_named_with_its_line(tmp_path, text, sentence, named):
    path = tmp_path / "mine.py"
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "kfp_bert_components.cli", "run", named.format(path=path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {path}, {sentence}")
    assert len(done.stderr.splitlines()) == 1
