"""Records of format 4 are read: an evaluation without texts whose rows have the keys of their texts.

The sample in format4/ must never be changed. An evaluation of the formats before has the keys of its texts, or none.
"""

from pathlib import Path

from kfp_bert_components.evaluation import read_evaluation, write_evaluation

SAMPLES = Path(__file__).parent


def test_an_evaluation_with_the_keys_of_its_texts(tmp_path):
    found = read_evaluation(SAMPLES / "format4" / "evaluation")
    assert found.predictions.column_names == ["id", "label", "probabilities", "text_key", "source", "source_row"]
    assert found.clusters().numbers.tolist() == [0, 0, 1, 1, 2, 3] and found.model_fingerprint == "model d"
    write_evaluation(found, tmp_path / "again")
    assert read_evaluation(tmp_path / "again") == found


def test_older_evaluations_have_the_keys_of_their_texts():
    for before in ("format1/evaluation", "format2/evaluation", "format3/champion"):
        table = read_evaluation(SAMPLES / before).predictions
        assert ("text_key" in table.column_names) == ("text" in table.column_names), before
