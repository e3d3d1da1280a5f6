"""A pipeline is found by the name of its file or module, and finds the modules beside it."""

import subprocess
import sys

import pytest

WORDS = "GREETING = 'hello'\n"
PIPELINE = """from kfp import dsl
from words import GREETING


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def say(text: str):
    print(text)


@dsl.pipeline
def pipeline():
    say(text=GREETING)
"""


@pytest.mark.parametrize(("folder", "named"), [("sub", "sub/mine.py:pipeline"), (".", "mine:pipeline")])
def test_a_pipeline_imports_the_modules_beside_it(tmp_path, folder, named):
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "mine.py").write_text(PIPELINE)
    (tmp_path / folder / "words.py").write_text(WORDS)
    # -P: as with the command kfp-bert, Python itself does not look into the working folder.
    done = subprocess.run(
        [sys.executable, "-P", "-m", "kfp_bert_components.cli", "run", named],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "  hello\n" in done.stdout
