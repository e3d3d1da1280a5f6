"""The requests of a smoke test come from the evaluation that is stored with the version."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kfp_bert_components.deployment import load_smoke_requests
from kfp_bert_components.deployment.smoke_test import check_answers
from kfp_bert_components.deployment.target import RolloutError
from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry
from tests.support.evaluations import scores, write_numbers
from tests.support.models import write_candidate


def promote(folder: Path, *, rows: int = 250, pairs: bool = False, pair: bool = False, texts: bool = True) -> Registry:
    """A registry whose version 1 was evaluated on so many rows: of pairs of texts, and by a model of pairs."""
    bundle, evaluation, decision = write_candidate(folder / "m")
    shutil.rmtree(evaluation)
    truth = np.arange(rows) % 2
    made = write_numbers(folder / "model/m", truth, scores(np.random.default_rng(0), truth, 2, 1.0), ["ham", "spam"])
    if pairs:
        table = pq.read_table(made / "predictions.parquet")
        pq.write_table(
            table.append_column("text_pair", pa.array([f"other {i}" for i in range(rows)])),
            made / "predictions.parquet",
        )
    if not texts:
        table = pq.read_table(made / "predictions.parquet")
        kept = [name for name in table.column_names if not name.startswith("text")]
        pq.write_table(table.select(kept), made / "predictions.parquet")
    shutil.move(made, evaluation)
    model = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**model, "pair": pair}))
    registry = Registry(str(folder / "registry"))
    registry.promote(bundle, evaluation, decision)
    return registry


@pytest.mark.parametrize("pairs", [False, True])
def test_they_are_200_rows_of_the_test_split_with_their_probabilities_the_same_each_time(tmp_path: Path, pairs: bool):
    registry = promote(tmp_path, pairs=pairs, pair=pairs)
    found = load_smoke_requests(registry, 1)
    assert found.labels == ["ham", "spam"] and found == load_smoke_requests(registry, 1)
    rows = pq.read_table(tmp_path / "m/evaluation/predictions.parquet").to_pylist()
    names = ["text", "text_pair"] if pairs else ["text"]
    every = {row["text"]: ({name: row[name] for name in names}, tuple(row["probabilities"])) for row in rows}
    chosen = [row.instance["text"] for row in found.rows]
    assert len(set(chosen)) == 200 and chosen != sorted(chosen)
    assert all((row.instance, row.expected) == every[row.instance["text"]] for row in found.rows)


def test_a_small_evaluation_gives_all_its_rows(tmp_path: Path):
    assert len(load_smoke_requests(promote(tmp_path, rows=3), 1).rows) == 3


def test_an_evaluation_without_what_must_be_asked_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="The evaluation of version 1 lacks the second texts to test it with"):
        load_smoke_requests(promote(tmp_path / "single", pair=True), 1)
    registry = Registry(str(tmp_path / "registry"))
    registry.promote(*write_candidate(tmp_path / "c"))
    with pytest.raises(UserError, match="The evaluation of version 1 holds no texts to test it with"):
        load_smoke_requests(registry, 1)
    registry.store.delete("versions/1/evaluation/evaluation.json")
    with pytest.raises(UserError, match="Version 1 cannot be tested without its evaluation: .*evaluation"):
        load_smoke_requests(registry, 1)


def test_a_version_whose_evaluation_keeps_no_texts_is_asked_fixed_ones_and_a_line_says_so(tmp_path, capsys):
    for pair in (False, True):
        registry = promote(tmp_path / str(pair), pairs=pair, pair=pair, texts=False)
        found = load_smoke_requests(registry, 1)
        said = "keeps no texts (keep_texts is ids): it is asked 7 fixed texts, and only the form of its answers"
        assert said in capsys.readouterr().out
        assert all(set(row.instance) == ({"text", "text_pair"} if pair else {"text"}) for row in found.rows)
        assert not any(row.expected for row in found.rows)
    right = {"label": "spam", "probabilities": [0.3, 0.7]}
    assert (
        check_answers(7 * [right], found, 0.01) == "asked here for 7 fixed texts, and all answers have the right form"
    )
    for label, probabilities in (("ham", [0.3, 0.7]), ("spam", [0.1, 0.7]), ("eggs", [0.3, 0.7]), ("spam", [-1, 2])):
        with pytest.raises(RolloutError, match="its answer to 'yes'"):
            check_answers(7 * [{"label": label, "probabilities": probabilities}], found, 0.01)
