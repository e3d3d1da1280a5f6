"""What can't be trained or served is refused before the first step, and what becomes of the head is said once."""

import os
import re
from dataclasses import replace

import pyarrow as pa
import pytest

from kfp_bert_components.bert.source import pin_checkpoint
from kfp_bert_components.data.splits import read_split
from kfp_bert_components.errors import ConflictError, UserError
from kfp_bert_components.storage import open_store, upload_folder
from kfp_bert_components.training import TrainingSettings, finetune
from tests.support.splits import write_split
from tests.support.stores import gcs
from tests.support.vocabularies import SPECIAL, bert, unigram, write_checkpoint

__all__ = ["gcs"]

CASED = {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
UNCASED = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
WORDS = {"cat": ["the cat sleeps", "a cat", "lazy cat"], "dog": ["the dog sleeps", "a dog", "lazy dog"]}


def make_splits(folder, pair=False, words=WORDS):
    for name in ("train", "validation"):
        labels = [label for label in words for _ in range(12)]
        texts = [words[label][i % 3] for i, label in enumerate(labels)]
        columns = {"id": [f"{name}{i}" for i in range(len(texts))], "text": texts, "label": labels}
        if pair:
            columns["text_pair"] = texts
        write_split(folder / name, name, list(words), pa.table(columns))
    return folder


@pytest.fixture
def train(tmp_path):
    def run(base_model, folder=None, **settings):
        places = [(folder or make_splits(tmp_path / "data")) / name for name in ("train", "validation")]
        values = {"base_model": str(base_model), "epochs": 1, "max_length": 32, "batch_size": 8} | settings
        return finetune(*places, tmp_path / "model", tmp_path / "report.html", TrainingSettings(**values))

    return run


def _added(folder):
    return write_checkpoint(folder, bert(added=("[DOSE]",)), CASED)


def _unigram(folder):
    return write_checkpoint(folder, unigram(), CASED)


def _marks_that_change_places(folder):
    words = ["the", "a", "lazy", "cat", "dog", "sleeps", "\u302e", "\U0001d165"]
    return write_checkpoint(folder, None, UNCASED, vocabulary=[*SPECIAL, *words])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_added, "added tokens, such as '\\[DOSE\\]'"),
        (_unigram, "is Unigram and only WordPiece"),
        (_marks_that_change_places, r"U\+302E, U\+1D165"),
    ],
)
def test_a_tokenizer_that_can_not_be_served_is_refused_before_the_first_step(train, tmp_path, capsys, make, says):
    base = make(tmp_path / "base")
    for _ in range(2):  # also when the step is tried again
        with pytest.raises(UserError, match=says):
            train(base, checkpoint_dir=str(tmp_path / "checkpoints"))
    assert "Training from" not in capsys.readouterr().out
    assert not (tmp_path / "checkpoints").exists()


def classifier_of(network, folder):
    from kfp_bert_components.training.start import make_classifier, weights_digest

    return weights_digest(make_classifier(network, read_split(folder / "train"), seed=0, again=True))


def test_a_base_model_in_a_bucket_is_read_once_and_what_replaces_it_meanwhile_is_not(gcs, tmp_path):
    from kfp_bert_components.training.start import read_once

    folder = make_splits(tmp_path / "data")
    upload_folder(write_checkpoint(tmp_path / "base", bert(), CASED), open_store("gs://bucket"), "base")
    network = TrainingSettings(base_model="gs://bucket/base", max_length=32).network
    pinned = replace(network, pin=pin_checkpoint("gs://bucket/base"))
    with read_once(pinned) as once:
        first = classifier_of(once, folder)
        gcs.put("bucket", "base/model.safetensors", b"another one")
        assert classifier_of(once, folder) == first
    assert len(gcs.downloads("model.safetensors")) == 1
    with pytest.raises(ConflictError, match="base_model 'gs://bucket/base' was changed since"), read_once(pinned):
        pass


def test_a_base_model_in_a_local_folder_that_is_replaced_meanwhile_is_not_trained_from(tmp_path):
    from kfp_bert_components.training.start import read_once

    folder, base = make_splits(tmp_path / "data"), write_checkpoint(tmp_path / "base", bert(), CASED)
    network = TrainingSettings(base_model=str(base), max_length=32).network
    with read_once(network) as once:
        classifier_of(once, folder)
        os.utime(base / "model.safetensors", (1, 1))
        with pytest.raises(ConflictError, match="base' was changed since the run began"):
            classifier_of(once, folder)


def test_a_whole_run_reads_its_base_model_once(train, gcs, tmp_path):
    upload_folder(write_checkpoint(tmp_path / "base", bert(), CASED), open_store("gs://bucket"), "base")
    train("gs://bucket/base", seeds=2, label_check_rows=24)
    assert len(gcs.downloads("model.safetensors")) == 1


def test_pairs_for_a_network_with_one_token_type_are_refused_before_the_first_step(train, tmp_path, capsys):
    base = write_checkpoint(tmp_path / "base", bert(), CASED, type_vocab_size=1)
    with pytest.raises(UserError, match="knows one token type and pairs of texts need two"):
        train(base, make_splits(tmp_path / "pairs", pair=True))
    assert "Training from" not in capsys.readouterr().out
    train(base)  # single texts are fine


def test_texts_that_the_vocabulary_does_not_know_are_refused_before_the_first_step(train, tmp_path, capsys):
    base = write_checkpoint(tmp_path / "base", bert(), CASED)
    thai = {"cat": ["แมวนอน", "แมว", "แมวขี้เกียจ"], "dog": ["สุนัขนอน", "สุนัข", "สุนัขขี้เกียจ"]}
    for number, pair in enumerate((False, True)):
        with pytest.raises(UserError, match=r"are \[UNK\]"):
            train(base, make_splits(tmp_path / str(number), pair, thai))
    assert "Training from" not in capsys.readouterr().out


def test_a_length_that_a_pair_needs_more_than_is_refused_before_the_first_step(train, tmp_path, capsys):
    base = write_checkpoint(tmp_path / "base", bert(), CASED)
    with pytest.raises(UserError, match="max_length is 4 and the model takes 5 to 64"):
        train(base, make_splits(tmp_path / "pairs", pair=True), max_length=4)
    assert "Training from" not in capsys.readouterr().out


def test_what_becomes_of_the_head_is_said_once_before_training(train, tmp_path, capsys):
    base = write_checkpoint(tmp_path / "base", bert(), CASED, labels=("LABEL_0", "LABEL_1"))
    train(base, seeds=2)
    said = capsys.readouterr().out
    assert re.findall(r"classification head .*", said) == [
        "classification head is kept, its labels taken in order: LABEL_0 is 'cat', LABEL_1 is 'dog'"
    ]
    assert said.index("classification head") < said.index("Training from")


@pytest.mark.parametrize("parameter", ["checkpoint_dir", "tensorboard_dir"])
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("{here}/file/x", "Not a directory"),
        ("/proc/nope", "No such file or directory"),
        ("gs://no-such-bucket/x", "there is no bucket gs://no-such-bucket"),
    ],
)
def test_a_folder_that_can_not_be_written_is_refused_before_the_first_step(
    gcs, train, tmp_path, capsys, parameter, place, reason
):
    (tmp_path / "file").touch()
    place = place.format(here=tmp_path)
    with pytest.raises(UserError, match=rf"^{parameter} {place} can't be written: .*{reason}\.$"):
        train("", **{parameter: place})
    assert "Training from" not in capsys.readouterr().out
