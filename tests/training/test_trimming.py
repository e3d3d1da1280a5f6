"""Training without the words that the data does not hold changes no weight."""

import numpy as np

from kfp_bert_components.training import TrainingSettings, finetune, trimming
from tests.support.training import make_base_model, make_splits, weights


def test_the_weights_are_those_of_training_with_all_words(tmp_path, monkeypatch):
    folder = make_splits(tmp_path)
    settings = TrainingSettings(
        base_model=str(make_base_model(tmp_path / "base")),
        epochs=2,
        batch_size=16,
        max_length=32,
        dropout=0.1,
        learning_rate=1e-2,
        weight_decay=0.5,
        epsilon=1e-4,
        layer_decay=0.8,
    )
    found = []
    for share in (0.0, 2.0):  # never, and always
        monkeypatch.setattr(trimming, "MOST_USED_SHARE", share)
        places = [folder / name for name in ("train", "validation", "model", "report.html")]
        finetune(*places, settings)
        found.append(weights(folder))
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, atol=2e-5, err_msg=name)
