"""A bundle answers as the classifier it was written from, and refuses what it can't do."""

import json
from pathlib import Path

import numpy as np
import pytest

from kfp_bert_components.bert import load_checkpoint, new_classifier, read_bundle, write_bundle
from kfp_bert_components.errors import NotFoundError, UserError
from tests.support.bert import probabilities
from tests.support.vocabularies import bert, write_checkpoint

TEXTS = ["the cat sat on the mat", "a dog barks at the cat", "Fin.", "", "cat " * 60, "café [SEP] 한국어"]


@pytest.fixture(scope="module")
def classifier():
    return new_classifier(TEXTS * 3, ["no", "yes"], vocabulary_size=80, layers=2, width=32, max_length=40)


@pytest.fixture(scope="module")
def bundle_folder(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(
        folder,
        classifier,
        max_length=24,
        base_model="",
        parameters={"epochs": 1},
        data_fingerprint="abc",
        pair=False,
        check_texts=TEXTS,
    )
    return folder


def test_the_served_graph_answers_as_the_network(classifier, bundle_folder):
    bundle = read_bundle(bundle_folder)
    assert bundle.labels == ["no", "yes"]
    assert bundle.metadata["parameters"] == {"epochs": 1}
    expected = probabilities(classifier, TEXTS, max_length=24)
    np.testing.assert_allclose(bundle.predict(TEXTS, batch_size=2), expected, atol=1e-6)


def test_the_signature_gives_label_and_score(bundle_folder):
    import tensorflow as tf

    serve = tf.saved_model.load(str(bundle_folder / "saved_model")).signatures["serving_default"]
    answer = {name: value.numpy() for name, value in serve(text=tf.constant(TEXTS)).items()}
    assert sorted(answer) == ["label", "probabilities", "score"]
    best = answer["probabilities"].argmax(axis=1)
    assert [label.decode() for label in answer["label"]] == [["no", "yes"][i] for i in best]
    np.testing.assert_array_equal(answer["score"], answer["probabilities"].max(axis=1))


def test_a_pair_model_takes_pairs_and_nothing_else(classifier, tmp_path):
    write_bundle(
        tmp_path,
        classifier,
        max_length=24,
        base_model="",
        parameters={},
        data_fingerprint="",
        pair=True,
        check_texts=list(zip(TEXTS, reversed(TEXTS), strict=True)),
    )
    bundle, pairs = read_bundle(tmp_path), list(reversed(TEXTS))
    expected = probabilities(classifier, TEXTS, pairs, max_length=24)
    np.testing.assert_allclose(bundle.predict(TEXTS, pairs), expected, atol=1e-6)
    with pytest.raises(UserError, match="pairs of texts"):
        bundle.predict(TEXTS)


def test_the_bundle_is_a_checkpoint_with_its_head(classifier, bundle_folder):
    again = load_checkpoint(str(bundle_folder), ["yes", "no"])
    expected = probabilities(classifier, TEXTS, max_length=24)
    np.testing.assert_allclose(probabilities(again, TEXTS, max_length=24)[:, ::-1], expected, atol=1e-6)


def test_the_same_model_has_the_same_fingerprint(classifier, bundle_folder, tmp_path):
    write_bundle(
        tmp_path,
        classifier,
        max_length=24,
        base_model="other",
        parameters={},
        data_fingerprint="",
        pair=False,
    )
    assert read_bundle(tmp_path).fingerprint == read_bundle(bundle_folder).fingerprint


def test_a_folder_without_bundle_and_an_unknown_format_are_refused(tmp_path):
    with pytest.raises(NotFoundError, match=r"bundle\.json"):
        read_bundle(tmp_path)
    (tmp_path / "bundle.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="format 99"):
        read_bundle(tmp_path)


def test_a_longer_limit_than_the_network_has_positions_is_refused(classifier, tmp_path):
    with pytest.raises(UserError, match="takes 3 to 40"):
        write_bundle(tmp_path, classifier, max_length=41, base_model="", parameters={}, data_fingerprint="", pair=False)


def test_bfloat16_halves_the_graph_and_moves_probabilities_little(tmp_path):
    classifier = new_classifier(TEXTS * 3, ["no", "yes"], vocabulary_size=80, layers=2, width=256, max_length=40)
    sizes = {}
    for precision in ("float32", "bfloat16"):
        folder = tmp_path / precision
        write_bundle(
            folder,
            classifier,
            max_length=24,
            base_model="",
            parameters={},
            data_fingerprint="",
            pair=False,
            check_texts=TEXTS,
            precision=precision,
        )
        expected = probabilities(classifier, TEXTS, max_length=24)
        np.testing.assert_allclose(read_bundle(folder).predict(TEXTS), expected, atol=2e-2)
        sizes[precision] = sum(path.stat().st_size for path in (folder / "saved_model").rglob("*") if path.is_file())
    assert sizes["bfloat16"] < 0.65 * sizes["float32"]


def test_a_bfloat16_network_too_large_for_one_graph_keeps_its_weights_in_variables(classifier, tmp_path, monkeypatch):
    from kfp_bert_components.bert import export

    answers = {}
    for most in (export.MOST_BYTES_IN_GRAPH, 0):
        monkeypatch.setattr(export, "MOST_BYTES_IN_GRAPH", most)
        folder = tmp_path / str(most)
        write_bundle(
            folder,
            classifier,
            max_length=24,
            base_model="",
            parameters={},
            data_fingerprint="",
            pair=False,
            precision="bfloat16",
        )
        answers[most] = read_bundle(folder).predict(TEXTS)
        assert (folder / "saved_model" / "saved_model.pb").stat().st_size > 0
    first, second = answers.values()
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_the_parts_of_the_served_graph_can_be_called_on_their_own(classifier, bundle_folder):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(bundle_folder / "saved_model"))
    tokens = loaded.tokenize(tf.constant(TEXTS))
    expected = classifier.tokenize(TEXTS, max_length=24)
    for i, ids in enumerate(expected.input_ids):
        assert tokens["input_ids"].numpy()[i, : len(ids)].tolist() == ids
    answer = loaded.answer(loaded.probabilities(**tokens))
    served = loaded.signatures["serving_default"](text=tf.constant(TEXTS))
    for name in ("label", "score", "probabilities"):
        np.testing.assert_array_equal(answer[name].numpy(), served[name].numpy())


def test_the_tokenizer_in_the_bundle_cuts_where_the_bundle_does(tmp_path):
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    base = bert()
    base.enable_truncation(max_length=9)  # as some sentence encoders have it
    base.enable_padding(length=9)
    write_checkpoint(tmp_path / "base", base, {"do_lower_case": False, "model_max_length": 512})
    classifier = load_checkpoint(str(tmp_path / "base"), ["no", "yes"])
    classifier.tokenizer(TEXTS, truncation=True, max_length=7, padding="max_length")  # which the tokenizer remembers
    write_bundle(
        tmp_path / "bundle", classifier, max_length=24, base_model="", parameters={}, data_fingerprint="", pair=False
    )
    folder, long = tmp_path / "bundle" / "huggingface", "the dog " * 60
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    assert tokenizer.model_max_length == 24 and classifier.tokenizer.model_max_length == 512
    assert tokenizer(long, truncation=True)["input_ids"] == classifier.tokenize([long], max_length=24).input_ids[0]
    assert "max_length" not in tokenizer.init_kwargs
    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert len(plain.encode(long).ids) > 100 and len(plain.encode("the").ids) == 3
    again = load_checkpoint(str(tmp_path / "bundle"), ["no", "yes"])
    np.testing.assert_array_equal(
        probabilities(again, TEXTS, max_length=24), probabilities(classifier, TEXTS, max_length=24)
    )


def _spoiled(vocabulary, change):
    """A tokenizer that treats characters one by one but for one change, which the graph can't follow."""
    from transformers import BertTokenizer

    tokenizer = BertTokenizer(vocab=vocabulary)
    change(tokenizer)
    return tokenizer


def _replace_words(tokenizer):
    from tokenizers import normalizers

    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Sequence([backend.normalizer, normalizers.Replace("cat", "dog")])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_replace_words, r"differs from transformers' on 2 of \d+ texts, the first being 'the cat sat on the mat'"),
        (lambda tokenizer: tokenizer.add_tokens(["sat"]), "added tokens, such as 'sat'"),
    ],
)
def test_a_tokenizer_that_the_graph_does_not_follow_is_not_exported(classifier, tmp_path, change, says):
    from dataclasses import replace

    spoiled = _spoiled({**classifier.tokenizer.get_vocab()}, change)
    with pytest.raises(UserError, match=says):
        write_bundle(
            tmp_path,
            replace(classifier, tokenizer=spoiled),
            max_length=24,
            base_model="",
            parameters={},
            data_fingerprint="",
            pair=False,
            check_texts=[*TEXTS[:3], "word"],
        )
    assert not (tmp_path / "bundle.json").exists()


def test_a_bundle_json_of_format_1_is_read():
    bundle = read_bundle(Path(__file__).parent / "format_1")  # written by a version that wrote format 1
    assert bundle.labels == ["animal", "colour", "number"]
    assert len(bundle.fingerprint) == 64
    metadata = bundle.metadata
    assert (metadata["max_length"], metadata["pair"], metadata["truncation"]) == (32, False, "head_tail")
    assert (metadata["precision"], metadata["base_model"]) == ("float32", "")
    assert (metadata["parameters"]["precision"], metadata["versions"]["keras"]) == ("bfloat16", "3.15.1")
    assert set(json.loads((bundle.folder / "bundle.json").read_text())) == {"format", *metadata} - {"engines"}
    assert (bundle.engine, list(bundle.engines)) == ("tensorflow", ["tensorflow"])


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1, "labels": ["a", "b"]}'])
def test_a_damaged_bundle_json_is_refused(tmp_path, text):
    (tmp_path / "bundle.json").write_text(text)
    with pytest.raises(UserError, match=r"bundle\.json is damaged: .*; give the folder of a model bundle\."):
        read_bundle(tmp_path)


@pytest.mark.parametrize(
    ("part", "shape"), [(np.s_[1:], r"\(1, 2\)"), (np.s_[:, 0], r"\(2,\)"), (np.s_[:, 1:], r"\(2, 1\)")]
)
def test_a_model_whose_answer_has_another_shape_is_refused(tmp_path, part, shape):
    import tensorflow as tf

    class Short(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def serve(self, text):
            return {"probabilities": tf.zeros([tf.shape(text)[0], 2])[part]}

    module = Short()
    tf.saved_model.save(module, str(tmp_path / "saved_model"), signatures={"serving_default": module.serve})
    (tmp_path / "bundle.json").write_text(
        json.dumps({"format": 1, "labels": ["no", "yes"], "pair": False, "fingerprint": "short"})
    )
    with pytest.raises(UserError, match=f"answers 2 texts with probabilities of the shape {shape}: it must be"):
        read_bundle(tmp_path).predict(["a", "b"])
