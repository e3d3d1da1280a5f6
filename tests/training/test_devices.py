"""A GPU that was asked for and is not used is not passed over in silence."""

import pytest
import tensorflow as tf

from kfp_bert_components.training.distribution import open_distribution

pytestmark = pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="TensorFlow sees a GPU here")


@pytest.mark.parametrize("devices", ["GPU-5f3c", "0,1", "all"])
def test_a_gpu_that_tensorflow_does_not_see_is_a_warning(monkeypatch, capsys, devices):
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", devices)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    open_distribution()
    printed = capsys.readouterr().out
    assert "TensorFlow sees none, so this trains on the CPU" in printed
    assert "make images CUDA=1" in printed


@pytest.mark.parametrize("given", [{}, {"NVIDIA_VISIBLE_DEVICES": "void"}, {"NVIDIA_VISIBLE_DEVICES": "none"}])
def test_where_no_gpu_was_asked_for_nothing_is_said(monkeypatch, capsys, given):
    monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("kfp_bert_components.quiet.glob", lambda pattern: [])
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    open_distribution()
    assert capsys.readouterr().out == ""


def test_who_hides_the_gpus_gets_no_warning(monkeypatch, capsys):
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "all")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    open_distribution()
    assert capsys.readouterr().out == ""
