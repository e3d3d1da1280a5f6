"""Shards: one table predicted by several steps, each row by one of them."""

import json
from dataclasses import replace
from itertools import chain

import pyarrow.dataset
import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.prediction import PredictionSettings, predict_table
from tests.prediction.test_parts import ids, parts_of
from tests.prediction.test_rows import rows_of, write_csv
from tests.support.predictors import shout_predictor


def shards(table, out, count, **settings):
    """The rows of each shard, each in a folder of its own, and what each read."""
    found = []
    for index in range(count):
        asked = []
        chosen = PredictionSettings(num_shards=count, shard_index=index, **settings)
        predict_table(str(table), f"{out}-{index}", shout_predictor(asked=asked), chosen)
        rows = pyarrow.dataset.dataset(f"{out}-{index}", format="parquet").to_table().to_pylist()
        found.append([(row["source"], row["source_row"]) for row in rows])
    return found


@pytest.mark.parametrize("count", [2, 3, 7])
def test_shards_of_one_file_are_the_table_and_no_row_is_in_two(tmp_path, count):
    table = write_csv(tmp_path / "lines.csv", [(str(i), f"line {i}") for i in range(9500)])
    found = shards(table, tmp_path / "out", count)
    assert sorted(row for shard in found for row in shard) == [("lines.csv", i) for i in range(2, 9502)]
    assert max(map(len, found)) - min(map(len, found)) <= 1000


def test_unreadable_rows_are_in_one_shard_too(tmp_path):
    rows = [json.dumps({"id": i, "text": f"line {i}"}) if i % 10 != 5 else "no JSON" for i in range(4000)]
    (tmp_path / "lines.jsonl").write_text("\n".join(rows))
    found = shards(tmp_path / "lines.jsonl", tmp_path / "out", 3)
    assert sorted(chain(*found)) == [("lines.jsonl", i) for i in range(1, 4001)]
    assert all(shard == sorted(shard) for shard in found)


def test_files_of_unlike_size_are_dealt_out_by_their_size(tmp_path):
    write_csv(tmp_path / "t" / "large.csv", [(str(i), f"line {i}") for i in range(1000)])
    for number in range(20):
        write_csv(tmp_path / "t" / f"{number:02d}.csv", [(str(i), f"line {i}") for i in range(50)])
    found = shards(tmp_path / "t", tmp_path / "out", 2)
    assert sorted(map(len, found)) == [1000, 1000]
    assert sorted(len({file for file, _ in shard}) for shard in found) == [1, 20]


def test_shards_of_many_files_have_whole_files_of_about_the_same_size(tmp_path):
    for number in range(17):
        write_csv(tmp_path / "t" / f"{number:02d}.csv", [(str(i), f"line {i}") for i in range(50 + 10 * number)])
    found = shards(tmp_path / "t", tmp_path / "out", 3)
    files = [{file for file, _ in shard} for shard in found]
    assert sum(map(len, files)) == len(set.union(*files)) == 17
    assert sum(map(len, found)) == len(set(chain(*found))) == sum(50 + 10 * number for number in range(17))
    assert max(map(len, found)) < 1.25 * sum(map(len, found)) / 3


def test_a_shard_of_many_files_does_not_read_the_files_of_others(tmp_path):
    for number in range(8):
        write_csv(tmp_path / "t" / f"{number}.csv", [("1", "some text")])
    mine = {file for file, _ in shards(tmp_path / "t", tmp_path / "out", 4)[0]}
    for number in range(8):
        if f"{number}.csv" not in mine:
            path = tmp_path / "t" / f"{number}.csv"
            path.write_bytes(b"PK\x03\x04" + bytes(path.stat().st_size - 4))  # no table any more
    settings = PredictionSettings(num_shards=4, shard_index=0)
    assert (
        predict_table(str(tmp_path / "t"), str(tmp_path / "again"), shout_predictor(), settings).rows == len(mine) == 2
    )


def test_shards_share_a_folder_and_leave_each_others_parts_alone(tmp_path):
    table = write_csv(tmp_path / "lines.csv", [(str(i), f"line {i}") for i in range(4500)])
    for fingerprint in ("f1", "f2"):
        for index in range(3):
            settings = PredictionSettings(num_shards=3, shard_index=index)
            predict_table(str(table), str(tmp_path / "out"), shout_predictor(fingerprint), settings)
            known = [row["model_fingerprint"] for row in rows_of(tmp_path / "out")]
            if fingerprint == "f2":
                assert len(known) == 4500
                assert known.count("f1") == sum(len(part) for part in parts_by_shard(tmp_path / "out")[index + 1 :])
    assert sorted(ids(tmp_path / "out")) == list(range(4500))


@pytest.mark.parametrize("files", [1, 8])
def test_shards_of_two_tables_do_not_share_a_folder(tmp_path, files):
    for name, words in (("a", "line"), ("b", "rows and")):
        for number in range(files):
            write_csv(tmp_path / name / f"{number}.csv", [(str(i), f"{words} {i}") for i in range(2500)])

    def predict(name, index, **settings):
        settings = PredictionSettings(num_shards=2, shard_index=index, **settings)
        predict_table(str(tmp_path / name), str(tmp_path / "out"), shout_predictor(), settings)

    predict("a", 1)
    before = parts_of(tmp_path / "out")
    with pytest.raises(UserError, match=r"holds _shard-00001-of-00002-predictions\.json, of a shard of another table"):
        predict("b", 0)
    assert parts_of(tmp_path / "out") == before
    predict("a", 0)
    assert len(rows_of(tmp_path / "out")) == 2500 * files


def test_of_two_tables_that_are_predicted_at_once_one_shard_does_not_end(tmp_path):
    for name, words in (("a", "line"), ("b", "rows and")):
        write_csv(tmp_path / f"{name}.csv", [(str(i), f"{words} {i}") for i in range(3000)])

    def shard(name, index, predictor=None):
        settings = PredictionSettings(num_shards=2, shard_index=index)
        predict_table(str(tmp_path / f"{name}.csv"), str(tmp_path / "out"), predictor or shout_predictor(), settings)

    def answer(texts, pairs):
        if not list((tmp_path / "out").glob("_shard-00000*")):
            shard("a", 0)
        return shout_predictor().predict(texts, pairs)

    with pytest.raises(UserError, match="of a shard of another table"):
        shard("b", 1, replace(shout_predictor(), predict=answer))


def test_a_shard_with_another_model_is_said(tmp_path, capsys):
    table = write_csv(tmp_path / "lines.csv", [(str(i), f"line {i}") for i in range(100)])
    for index, fingerprint in enumerate(["f1", "f2"]):
        settings = PredictionSettings(num_shards=2, shard_index=index)
        predict_table(str(table), str(tmp_path / "out"), shout_predictor(fingerprint), settings)
    assert "holds a shard with another model: predict all shards alike" in capsys.readouterr().out


def parts_by_shard(out):
    return [rows_of([str(path) for path in sorted(out.glob(f"shard-{i:05d}-of-*.parquet"))]) for i in range(3)]


def test_a_shard_without_rows_writes_a_part_with_the_columns_of_the_others(tmp_path):
    table = write_csv(tmp_path / "lines.csv", [("1", "one"), ("2", "two")])
    assert [len(shard) for shard in shards(table, tmp_path / "out", 3)] == [2, 0, 0]


def test_a_shard_that_is_none_is_refused():
    with pytest.raises(UserError, match="shard_index is 3, but there are 3 shards"):
        PredictionSettings(num_shards=3, shard_index=3)
