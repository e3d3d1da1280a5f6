"""What libraries say at their start without need is gone; what matters is not."""

import os
import subprocess
import sys

import pytest

from kfp_bert_components.quiet import quietly
from tests.support.tiny_model import write_tiny_saved_model

NOISE = "I0000 00:00:1.2 3 port.cc:153] oneDNN custom operations are on. You may see slightly different results\n"
WARNING = "W0000 00:00:1.2 3 gpu.cc:1] Cannot dlopen some GPU libraries\n"


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")


def test_a_line_that_matters_comes_when_the_block_ends(no_gpu, capfd):
    with quietly():
        os.write(2, (NOISE + WARNING).encode())
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == WARNING


def test_all_lines_come_where_a_gpu_was_asked_for(monkeypatch, capfd):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "all")
    with quietly():
        os.write(2, NOISE.encode())
    assert capfd.readouterr().err == NOISE


def test_lines_come_also_when_the_block_fails(no_gpu, capfd):
    with pytest.raises(ImportError), quietly():
        os.write(2, WARNING.encode())
        raise ImportError
    assert capfd.readouterr().err == WARNING


LOGGING = "import logging; logging.basicConfig(level=logging.INFO)"  # as KFP's executor has it
TRAINING = """
from kfp_bert_components.quiet import quietly
with quietly():
    from kfp_bert_components.training.distribution import open_distribution
    open_distribution()
from kfp_bert_components.bert import new_classifier
from kfp_bert_components.reports.charts import new_figure
classifier = new_classifier(["a b c"] * 9, ["x", "y"], layers=1, width=8, heads=1)
classifier.tokenizer(["a"])
new_figure()
"""
SERVING = """
import sys
from pathlib import Path
from kfp_bert_components.serving.engines import Threads, load_engine
from kfp_bert_components.serving.versions import read_version
load_engine(read_version(Path(sys.argv[1]), 1), Threads.of_machine())
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", [TRAINING, pytest.param(SERVING, marks=pytest.mark.long)], ids=["training", "serving"])
def test_a_step_without_a_gpu_starts_without_a_word(step, tmp_path):
    write_tiny_saved_model(tmp_path / "model")
    own = (
        "TF_CPP_MIN_LOG_LEVEL",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS",
        "CUDA_VISIBLE_DEVICES",
        "NVIDIA_VISIBLE_DEVICES",
    )
    environment = {name: value for name, value in os.environ.items() if name not in own}
    environment |= {"MPLCONFIGDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}  # no cache of fonts
    result = subprocess.run(
        [sys.executable, "-c", LOGGING + step, tmp_path / "model"], env=environment, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
