"""The ONNX graph gives what the network gives, whatever its shape, and holds standard operators and no weights."""

import json
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from kfp_bert_components.bert import BertConfig
from kfp_bert_components.bert.checkpoint import save_weights
from kfp_bert_components.bert.encoder import ACTIVATIONS, BertClassifier
from kfp_bert_components.bert.export_checks import network_logits
from kfp_bert_components.bert.onnx_graph import quantized, write_graph
from kfp_bert_components.bert.onnx_model import open_session, padded, select
from kfp_bert_components.bert.tokens import Tokens
from tests.support.peers import run_peer

SUPPORT = Path(__file__).parents[1] / "support"

SMALL = BertConfig(
    vocab_size=50,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    max_position_embeddings=20,
    initializer_range=0.3,  # so that activations are far from linear
    labels=("a", "b", "c"),
)
SHAPES = {
    "one layer": {"num_hidden_layers": 1},
    "five layers": {"num_hidden_layers": 5},
    "one head": {"num_attention_heads": 1},
    "heads of width one": {"num_attention_heads": 24},
    "odd widths": {"hidden_size": 33, "num_attention_heads": 11, "intermediate_size": 37},
    "one token type": {"type_vocab_size": 1},
    "three token types": {"type_vocab_size": 3},
    "another epsilon": {"layer_norm_eps": 1e-3},
    "two classes": {"labels": ("a", "b")},
}


def some_tokens(config: BertConfig, lengths: tuple[int, ...]) -> Tokens:
    """Ids at random, of all token types."""
    rng = np.random.default_rng(0)
    ids = [rng.integers(0, config.vocab_size, length).tolist() for length in lengths]
    types = [np.sort(rng.integers(0, config.type_vocab_size, length)).tolist() for length in lengths]
    return Tokens(ids, types, list(lengths))


def written(folder: Path, config: BertConfig, precision: str = "float32") -> BertClassifier:
    (folder / "huggingface").mkdir(parents=True)
    model = BertClassifier(config, seed=1)
    rng = np.random.default_rng(1)
    for weight in model.trainable_variables:  # biases and norms too: fresh ones are zeros and ones
        weight.assign(np.asarray(weight) + rng.normal(0, 0.1, weight.shape))
    save_weights(model, folder / "huggingface")
    write_graph(folder, config, precision)
    return model


def check_same(folder: Path, config: BertConfig, most: float = 1e-5) -> None:
    model = written(folder, config)
    session = open_session(folder / "model.onnx", threads=1)
    for lengths in ((2,), (config.max_position_embeddings,), (3, 1, 17, 2, 20, 9)):
        tokens = some_tokens(config, lengths)
        expected = network_logits(lambda inputs: model(inputs, training=False), tokens)
        found = session.run(None, padded(tokens))[0]
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(found, expected, atol=most)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation(tmp_path, activation):
    check_same(tmp_path, replace(SMALL, hidden_act=activation))


@pytest.mark.peers
def test_every_activation_and_shape_in_onnx_runtime_1_16(tmp_path):
    """Where an operator is computed in another way, or fused with others, it must give the same."""
    shapes = {name: changes for name, changes in SHAPES.items() if "type_vocab_size" not in changes}
    configs = [replace(SMALL, hidden_act=name) for name in ACTIVATIONS]
    configs += [replace(SMALL, **changes) for changes in shapes.values()]
    tokens = some_tokens(SMALL, (3, 2, 17, 20))
    (tmp_path / "inputs.json").write_text(json.dumps({n: a.tolist() for n, a in padded(tokens).items()}))
    models = [written(tmp_path / str(number), config) for number, config in enumerate(configs)]
    paths = [tmp_path / str(number) / "model.onnx" for number in range(len(configs))]
    printed = run_peer("tensorflow 2.15", SUPPORT / "peer_onnx.py", tmp_path / "inputs.json", *paths)
    theirs = json.loads(printed)
    assert theirs["version"].startswith("1.16")
    for model, logits in zip(models, theirs["logits"], strict=True):
        expected = network_logits(lambda inputs, model=model: model(inputs, training=False), tokens)
        np.testing.assert_allclose(logits, expected, atol=1e-5, err_msg=str(model.config))


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape(tmp_path, name):
    check_same(tmp_path, replace(SMALL, **SHAPES[name]))


@pytest.mark.parametrize(("precision", "most"), [("float32", 1e-6), ("int8", 1e-4)])
def test_an_answer_does_not_depend_on_the_other_texts_of_its_batch(tmp_path, precision, most):
    written(tmp_path, SMALL, precision)
    session = open_session(tmp_path / "model.onnx", threads=1)
    tokens = some_tokens(SMALL, (7, 20, 2, 12, 19))
    together = session.run(None, padded(tokens))[0]
    for row in range(5):
        alone = session.run(None, padded(select(tokens, [row])))[0]
        np.testing.assert_allclose(together[row : row + 1], alone, atol=most)


def test_the_graph_holds_standard_operators_and_no_weights(tmp_path):
    written(tmp_path, SMALL)
    model = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)] and model.ir_version == 8
    assert {node.domain for node in model.graph.node} == {""}
    assert sum(len(one.raw_data) for one in model.graph.initializer) < 1_000
    places = {one.value for tensor in model.graph.initializer for one in tensor.external_data if one.key == "location"}
    assert places == {"huggingface/model.safetensors"}


def test_the_same_network_gives_the_same_bytes(tmp_path):
    for precision in ("float32", "int8"):
        for name in ("one", "two"):
            written(tmp_path / precision / name, SMALL, precision)
        one, two = (tmp_path / precision / name for name in ("one", "two"))
        files = sorted(path.name for path in one.glob("model.onnx*"))
        assert files == ["model.onnx", "model.onnx.data"][: 1 + (precision == "int8")]
        for name in files:
            assert (one / name).read_bytes() == (two / name).read_bytes()


@pytest.mark.parametrize(("rows", "columns"), [(3, 32), (5, 100), (1, 1), (7, 129)])
def test_a_matrix_in_8_bits_is_off_by_half_a_step_at_most(rows, columns):
    kernel = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
    kernel[0] = 0
    numbers, scales = quantized(kernel)
    again = ((numbers.astype(np.float32) - 128) * scales[:, :, None]).reshape(rows, -1)
    assert (again[:, columns:] == 0).all()  # what fills up the last block
    steps = np.repeat(scales, numbers.shape[2], axis=1)[:, :columns]
    assert (np.abs(again[:, :columns] - kernel) <= 0.5001 * steps).all()


@pytest.mark.parametrize("changes", [{}, {"hidden_size": 33, "num_attention_heads": 11, "intermediate_size": 37}])
def test_in_8_bits_the_answers_stay_near(tmp_path, changes):
    config = replace(SMALL, initializer_range=0.05, **changes)
    model = written(tmp_path, config, "int8")
    session = open_session(tmp_path / "model.onnx", threads=1)
    (tmp_path / "huggingface" / "model.safetensors").unlink()  # all weights are in model.onnx.data
    tokens = some_tokens(config, (3, 1, 17, 2, 20, 9))
    expected = network_logits(lambda inputs: model(inputs, training=False), tokens)
    difference = np.abs(session.run(None, padded(tokens))[0] - expected).max()
    assert 0 < difference < 0.03


def test_weights_of_more_than_2_gb(tmp_path):
    """The word embedding alone has 2.4 GB: zeros in a sparse file, of which next to nothing is read."""
    config = replace(SMALL, vocab_size=5_000_000, hidden_size=120, initializer_range=0.05)
    small = replace(config, vocab_size=50)
    (tmp_path / "huggingface").mkdir()
    model = BertClassifier(small, seed=1)
    save_weights(model, tmp_path / "huggingface")
    path = tmp_path / "huggingface" / "model.safetensors"
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    table, rest = json.loads(data[8 : 8 + size]), data[8 + size :]
    word, wide = table["bert.embeddings.word_embeddings.weight"], config.vocab_size * config.hidden_size * 4
    begin, end = word["data_offsets"]
    word.update(shape=[config.vocab_size, config.hidden_size], data_offsets=[len(rest), len(rest) + wide])
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + rest)
        file.truncate(8 + len(header) + len(rest) + wide)
        # the rows that the texts ask for are the last ones
        file.seek(8 + len(header) + len(rest) + wide - (end - begin))
        file.write(rest[begin:end])
    if path.stat().st_blocks * 512 > 1e9:
        pytest.skip("the file system of the test's folder has no sparse files")
    write_graph(tmp_path, config)
    session = open_session(tmp_path / "model.onnx", threads=1)
    tokens = some_tokens(small, (3, 20))
    expected = network_logits(lambda inputs: model(inputs, training=False), tokens)
    last = [[i + config.vocab_size - 50 for i in ids] for ids in tokens.input_ids]
    found = session.run(None, padded(replace(tokens, input_ids=last)))[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert os.path.getsize(tmp_path / "model.onnx") < 50_000
