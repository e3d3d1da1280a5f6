"""model.onnx answers as the network, whatever its shape, and its tokenizer gives the ids of transformers'."""

import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kfp_bert_components.bert import load_checkpoint, new_classifier, read_bundle, write_bundle
from kfp_bert_components.bert.cores import usable_cores
from kfp_bert_components.bert.onnx_model import OnnxModel, has_onnx, open_session
from kfp_bert_components.bert.tokens import TRUNCATIONS
from kfp_bert_components.errors import NotFoundError, UserError
from tests.conftest import ROOT
from tests.support.bert import probabilities
from tests.support.vocabularies import bert, write_checkpoint

TEXTS = ["the cat sat on the mat", "a dog barks at the cat", "Fin.", "", "cat " * 60, "café [SEP] 한국어"]


@pytest.fixture(scope="module")
def classifier():
    return new_classifier(TEXTS * 3, ["no", "yes"], vocabulary_size=80, layers=2, width=32, max_length=40)


def write(folder: Path, classifier, **changes) -> Path:
    settings = {"max_length": 24, "pair": False, "check_texts": TEXTS, **changes}
    write_bundle(folder, classifier, base_model="", parameters={}, data_fingerprint="", **settings)
    return folder


@pytest.fixture(scope="module")
def bundle(classifier, tmp_path_factory):
    return write(tmp_path_factory.mktemp("bundle"), classifier)


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_it_answers_as_the_network(classifier, bundle, batch_size):
    model = OnnxModel(bundle, threads=1, spinning=False)
    assert (model.labels, model.pair, model.max_length, model.precision) == (["no", "yes"], False, 24, "float32")
    expected = probabilities(classifier, TEXTS, max_length=24)
    np.testing.assert_allclose(model.predict(TEXTS, batch_size=batch_size), expected, atol=1e-6)
    np.testing.assert_allclose(model.probabilities(model.tokenize(TEXTS)), expected, atol=1e-6)


def test_the_bundle_answers_by_each_engine(classifier, bundle):
    opened = read_bundle(bundle)
    assert opened.engine == "onnxruntime" and has_onnx(bundle)
    expected = probabilities(classifier, TEXTS, max_length=24)
    for engine in ("", "onnxruntime", "tensorflow"):
        np.testing.assert_allclose(opened.predict(TEXTS, engine=engine), expected, atol=1e-6)
    with pytest.raises(UserError, match="nothing for the engine 'torch': choose tensorflow or onnxruntime"):
        opened.predict(TEXTS, engine="torch")


def test_bundle_json_says_how_near_each_engine_is(bundle):
    engines = json.loads((bundle / "bundle.json").read_text())["engines"]
    assert engines["tensorflow"] == {
        "precision": "float32",
        "texts": len(TEXTS),
        "largest_change": 0.0,
        "argmax_agreement": 1.0,
    }
    onnx = engines["onnxruntime"]
    assert onnx.pop("largest_change") < 1e-6
    assert onnx == {"precision": "float32", "texts": len(TEXTS), "argmax_agreement": 1.0}


@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_a_model_of_pairs(classifier, tmp_path, truncation):
    pairs = list(reversed(TEXTS))
    checked = list(zip(TEXTS, pairs, strict=True))
    model = OnnxModel(write(tmp_path, classifier, pair=True, check_texts=checked, truncation=truncation))
    expected = probabilities(classifier, TEXTS, pairs, max_length=24, truncation=truncation)
    np.testing.assert_allclose(model.predict(TEXTS, pairs), expected, atol=1e-6)
    with pytest.raises(UserError, match="takes pairs of texts"):
        model.predict(TEXTS)


def test_without_a_temporary_folder_it_is_loaded_where_it_lies(classifier, bundle, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    expected = probabilities(classifier, TEXTS, max_length=24)
    np.testing.assert_allclose(OnnxModel(bundle).predict(TEXTS), expected, atol=1e-6)


def test_several_threads_ask_one_model(bundle):
    model = OnnxModel(bundle)
    alone = model.predict(TEXTS, batch_size=1)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: model.predict([TEXTS[i % 6]])[0], range(200)))
    np.testing.assert_allclose(answers, [alone[i % 6] for i in range(200)], atol=1e-6)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the cores of a process can't be chosen here")
def test_it_takes_as_many_threads_as_the_process_has_cores(bundle):
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores() == 1
        session = open_session(bundle / "model.onnx")
    finally:
        os.sched_setaffinity(0, before)
    assert session.get_session_options().intra_op_num_threads == 1


LIGHT = """
import importlib.abc, sys
class Without(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "transformers", "safetensors", "onnx", "pydantic"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Without())
from pathlib import Path
from kfp_bert_components.bert.onnx_model import OnnxModel
assert not {"numpy", "onnxruntime", "tokenizers"} & set(sys.modules)
print(OnnxModel(Path(sys.argv[1])).predict(["a cat", "the dog"]).shape)
"""


def test_it_needs_onnxruntime_tokenizers_and_numpy_alone_and_loads_them_late(bundle):
    command = [sys.executable, "-c", LIGHT, str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout == "(2, 2)\n", done.stderr


def test_what_tokenizer_json_says_of_cutting_and_padding_changes_nothing(classifier, bundle, tmp_path):
    from tokenizers import Tokenizer

    write(tmp_path, classifier)
    path = tmp_path / "huggingface" / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(max_length=5)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(path))
    assert OnnxModel(tmp_path).tokenize(TEXTS) == OnnxModel(bundle).tokenize(TEXTS)
    assert max(OnnxModel(bundle).tokenize(TEXTS).lengths) > 24  # it says how long a text was


def test_special_tokens_with_other_names(tmp_path):
    """The ids of what begins and ends a text are those of the tokenizer, whatever they are called."""
    from transformers import BertTokenizer

    vocabulary = {token: i for i, token in enumerate(["<pad>", "<unk>", "<a>", "<b>", "<mask>", "cat", "dog"])}
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<a>", "sep_token": "<b>", "mask_token": "<mask>"}
    tokenizer = BertTokenizer(vocab=vocabulary, **names)
    base = new_classifier(["cat dog"], ["no", "yes"], vocabulary_size=7, layers=1, width=8, max_length=40)
    model = OnnxModel(write(tmp_path, replace(base, tokenizer=tokenizer)))
    assert model.tokenize(["cat dog"]).input_ids == [[2, 5, 6, 3]]


def test_a_network_that_onnx_runtime_answers_otherwise_is_not_exported(classifier, tmp_path, monkeypatch):
    from kfp_bert_components.bert import onnx_graph

    monkeypatch.setitem(onnx_graph.ACTIVATIONS, "gelu", onnx_graph.ACTIVATIONS["relu"])
    with pytest.raises(UserError, match=r"ONNX Runtime's logits differ from TensorFlow's by .*, more than 1.0e-05"):
        write(tmp_path, classifier)
    assert not (tmp_path / "bundle.json").exists()


def test_int8_has_its_own_weights_and_no_saved_model(classifier, tmp_path):
    folder = write(tmp_path, classifier, precision="int8")
    assert sorted(path.name for path in folder.iterdir()) == [
        "bundle.json",
        "huggingface",
        "model.onnx",
        "model.onnx.data",
    ]
    bundle = read_bundle(folder)
    assert list(bundle.engines) == ["onnxruntime"]
    record = bundle.engines["onnxruntime"]
    assert record["precision"] == "int8" and 0 < record["largest_change"] < 0.01 and record["argmax_agreement"] == 1
    found = OnnxModel(folder)
    expected = probabilities(classifier, TEXTS, max_length=24)
    change = np.abs(found.predict(TEXTS) - expected).max()
    assert found.precision == "int8" and change == pytest.approx(record["largest_change"], abs=1e-5)
    files = ("model.onnx", "model.onnx.data", "huggingface/tokenizer.json")
    assert bundle.size_bytes == sum((folder / name).stat().st_size for name in files)


def test_int8_that_changes_too_much_is_not_exported(classifier, tmp_path, monkeypatch):
    from kfp_bert_components.bert import export_checks

    monkeypatch.setattr(export_checks, "MOST_CHANGE", {"int8": 1e-9})
    with pytest.raises(UserError, match=r"in int8 a probability moves by 0.00\d, more than 1e-09: export in float32"):
        write(tmp_path, classifier, precision="int8")
    assert not (tmp_path / "bundle.json").exists()


@pytest.mark.parametrize(
    ("name", "content", "kind", "says"),
    [
        ("model.onnx", None, NotFoundError, r"model\.onnx is missing"),
        ("model.onnx", b"no graph", UserError, r"model\.onnx can't be loaded by ONNX Runtime"),
        ("huggingface/model.safetensors", None, UserError, r"model\.onnx can't be loaded by ONNX Runtime"),
        ("huggingface/model.safetensors", b"short", UserError, r"model\.onnx can't be loaded by ONNX Runtime"),
        ("huggingface/tokenizer.json", None, NotFoundError, r"tokenizer\.json is missing"),
        ("huggingface/tokenizer.json", b"{}", UserError, r"tokenizer\.json is damaged"),
        ("bundle.json", None, NotFoundError, r"holds no bundle\.json"),
        ("bundle.json", b"{", UserError, r"bundle\.json is damaged"),
    ],
)
def test_a_file_that_is_missing_or_damaged_is_named(bundle, tmp_path, name, content, kind, says):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(bundle, folder)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(kind, match=says):
        OnnxModel(folder)


@pytest.mark.parametrize("content", [b"", None])
def test_what_is_written_over_a_loaded_file_changes_no_answer(classifier, bundle, tmp_path, content):
    import shutil

    shutil.copytree(bundle, tmp_path / "copy")
    weights = tmp_path / "copy" / "huggingface" / "model.safetensors"
    found = OnnxModel(tmp_path / "copy")
    expected = found.predict(TEXTS)
    weights.write_bytes(b"\0" * weights.stat().st_size if content is None else content)
    np.testing.assert_array_equal(found.predict(TEXTS), expected)


@pytest.mark.parametrize(
    "name", ["huggingface/model.safetensors", "huggingface/tokenizer.json", "model.onnx", "bundle.json"]
)
def test_a_file_that_may_not_be_read_is_not_called_damaged(bundle, tmp_path, name, monkeypatch):
    import errno
    import shutil

    shutil.copytree(bundle, tmp_path / "copy")
    real = Path.open

    def refused(path, *args, **options):  # root may read every file
        if path == tmp_path / "copy" / name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(UserError, match=rf"{re.escape(name)} can't be read \(Permission denied\)"):
        OnnxModel(tmp_path / "copy")


def test_a_temporary_folder_that_is_full_is_named(bundle, monkeypatch):
    import errno
    import shutil

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device", str(source))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(UserError, match=r"can't be copied to .* \(No space left on device\): make room there"):
        OnnxModel(bundle)


def test_labels_that_are_not_those_of_the_graph_are_refused(bundle, tmp_path):
    import shutil

    shutil.copytree(bundle, tmp_path / "copy")
    path = tmp_path / "copy" / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": ["a", "b", "c"]}))
    with pytest.raises(UserError, match="answers for 2 classes, and there are 3 labels"):
        OnnxModel(tmp_path / "copy")


def test_a_tokenizer_json_of_another_program_is_kept_true(tmp_path):
    """A base model whose tokenizer.json cuts and pads gives a bundle that does neither."""
    base = bert()
    base.enable_truncation(max_length=9)
    base.enable_padding(length=9)
    write_checkpoint(tmp_path / "base", base, {"do_lower_case": False, "model_max_length": 512})
    classifier = load_checkpoint(str(tmp_path / "base"), ["no", "yes"])
    model = OnnxModel(write(tmp_path / "bundle", classifier))
    assert model.tokenize(TEXTS) == classifier.tokenize(TEXTS, max_length=24)
