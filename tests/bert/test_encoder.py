"""What a classifier leaves out when it predicts changes no number."""

import numpy as np
import pytest

from kfp_bert_components.bert import BertConfig
from kfp_bert_components.bert.encoder import BertClassifier


@pytest.mark.parametrize("layers", [1, 3])
def test_the_first_token_alone_is_as_good_as_all_in_the_last_layer(layers):
    config = BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=layers,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=16,
        labels=("a", "b"),
    )
    model = BertClassifier(config, seed=4)
    random = np.random.default_rng(0)
    mask = (np.arange(9) < np.array([9, 1, 5])[:, None]).astype(np.int32)
    inputs = {
        "input_ids": random.integers(0, 50, mask.shape, np.int32),
        "token_type_ids": random.integers(0, 2, mask.shape, np.int32),
        "attention_mask": mask,
    }
    states = model.encoder.hidden_states(**inputs)
    np.testing.assert_allclose(model.encoder.first_states(**inputs), states[-1][:, 0], atol=1e-6)
    np.testing.assert_allclose(model(inputs), model.head(model.encoder.pool(states[-1][:, 0])), atol=1e-6)
