"""Parts: written whole, gone on with, started anew, and one after the other."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kfp_bert_components.errors import ConflictError, UserError
from kfp_bert_components.prediction import PredictionSettings, predict_table, table
from kfp_bert_components.prediction.parts import Parts
from kfp_bert_components.progress_bar import track
from kfp_bert_components.storage import download_folder, open_store
from tests.conftest import ROOT
from tests.prediction.test_rows import rows_of, write_csv
from tests.support.predictors import shout_predictor
from tests.support.stores import cloud, gcs, s3
from tests.support.stores import every_place as place

__all__ = ["cloud", "gcs", "place", "s3"]

SMALL = {"part_rows": 100}


@pytest.fixture
def lines(tmp_path):
    return write_csv(tmp_path / "lines.csv", [(str(i), f"line {i}") for i in range(1000)])


def parts_of(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}


def ids(out):
    return [int(row["id"]) for row in rows_of(out)]


def test_a_part_ends_after_some_minutes_too(tmp_path, lines, monkeypatch):
    monkeypatch.setattr("kfp_bert_components.prediction.table.PART_SECONDS", 0.0)
    monkeypatch.setattr("kfp_bert_components.prediction.table.WINDOW", 400)
    assert predict_table(str(lines), str(tmp_path / "out"), shout_predictor()).parts == 3
    assert ids(tmp_path / "out") == list(range(1000))


class Killed(BaseException):
    """Stands for the end of the process."""


def killing(after):
    """A predictor that is killed at its call of this number."""
    asked = []
    good = shout_predictor(asked=asked)

    def answer(texts, pairs):
        if len(asked) == after:
            raise Killed
        return good.predict(texts, pairs)

    return type(good)(answer, good.labels, good.pair, good.fingerprint)


def test_the_rows_are_in_parts_in_their_order(tmp_path, lines):
    found = predict_table(str(lines), str(tmp_path / "out"), shout_predictor(), PredictionSettings(part_rows=300))
    assert [pq.read_metadata(path).num_rows for path in sorted((tmp_path / "out").glob("*.parquet"))] == [300] * 3 + [
        100
    ]
    assert (found.rows, found.parts) == (1000, 4)
    assert ids(tmp_path / "out") == list(range(1000))


def test_a_run_that_was_killed_goes_on_after_its_last_part(tmp_path, lines):
    out, asked = tmp_path / "out", []
    with pytest.raises(Killed):
        predict_table(str(lines), str(out), killing(after=4), PredictionSettings(**SMALL))
    before = parts_of(out)
    assert len(list(out.glob("*.parquet"))) == 4
    found = predict_table(str(lines), str(out), shout_predictor(asked=asked), PredictionSettings(**SMALL))
    assert sum(map(len, asked)) == 600
    assert (found.rows, ids(out)) == (1000, list(range(1000)))
    assert parts_of(out).items() >= {name: at for name, at in before.items() if name.startswith("part-")}.items()


def test_the_rate_counts_only_the_rows_of_this_run(tmp_path, lines, monkeypatch):
    bars = []

    def tracked(*given, **more):
        bars.append(track(*given, **more))
        return bars[-1]

    with pytest.raises(Killed):
        predict_table(str(lines), str(tmp_path / "out"), killing(after=4), PredictionSettings(**SMALL))
    monkeypatch.setattr(table, "track", tracked)
    predict_table(str(lines), str(tmp_path / "out"), shout_predictor(), PredictionSettings(**SMALL))
    assert [(bar.initial, bar.n) for bar in bars] == [(400, 1000)]


def test_a_complete_run_is_not_run_again(tmp_path, lines, capsys):
    asked = []
    first = predict_table(str(lines), str(tmp_path / "out"), shout_predictor())
    again = predict_table(str(lines), str(tmp_path / "out"), shout_predictor(asked=asked))
    assert (again, asked) == (first, [])
    assert "holds the predictions already" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["model", "input", "settings"])
def test_another_model_input_or_setting_starts_anew_and_says_so(tmp_path, lines, change, capsys):
    out = tmp_path / "out"
    with pytest.raises(Killed):
        predict_table(str(lines), str(out), killing(after=4), PredictionSettings(**SMALL))
    fingerprint, settings = "f1", dict(SMALL)
    if change == "model":
        fingerprint = "f2"
    elif change == "input":
        write_csv(lines, [(str(i), "other words") for i in range(150)])
    else:
        settings["part_rows"] = 1000
    predict_table(str(lines), str(out), shout_predictor(fingerprint), PredictionSettings(**settings))
    assert (
        f"with another {'table and ' * (change == 'input')}{change}: all rows are predicted anew"
        in capsys.readouterr().out
    )
    rows = rows_of(out)
    assert len(rows) == (150 if change == "input" else 1000)
    assert {row["model_fingerprint"] for row in rows} == {fingerprint}


def test_a_part_that_was_lost_makes_the_run_start_anew(tmp_path, lines, capsys):
    predict_table(str(lines), str(tmp_path / "out"), shout_predictor(), PredictionSettings(**SMALL))
    (tmp_path / "out" / "part-00003.parquet").unlink()
    predict_table(str(lines), str(tmp_path / "out"), shout_predictor(), PredictionSettings(**SMALL))
    assert "has lost part-00003.parquet" in capsys.readouterr().out
    assert ids(tmp_path / "out") == list(range(1000))


def test_a_table_that_can_no_longer_be_read_leaves_what_was_predicted(tmp_path, lines):
    predict_table(str(lines), str(tmp_path / "out"), shout_predictor())
    write_csv(lines, [("a", "b")], ("id", "words"))
    with pytest.raises(UserError, match="has no column 'text'"):
        predict_table(str(lines), str(tmp_path / "out"), shout_predictor())
    lines.write_text("id,text\n")
    with pytest.raises(UserError, match="There is not one row in the table"):
        predict_table(str(lines), str(tmp_path / "out"), shout_predictor())
    write_csv(lines, [("a", "b")], ("id", "words"))
    assert ids(tmp_path / "out") == list(range(1000))
    with pytest.raises(UserError, match="has no column 'text'"):
        predict_table(str(lines), str(tmp_path / "new"), shout_predictor())
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("notes.txt", r"holds notes\.txt, which no prediction of a table wrote: give an empty folder"),
        ("part-00000.parquet", r"part-00000\.parquet of another run, without its record _predictions\.json"),
        (
            "shard-00001-of-00004-part-00000.parquet",
            r"parts of a run in 4 shards: give an empty folder, or num_shards=4",
        ),
    ],
)
def test_an_output_that_holds_something_else_is_refused_and_stays_as_it_is(tmp_path, lines, name, message):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("x")
    with pytest.raises(UserError, match=message):
        predict_table(str(lines), str(tmp_path / "out"), shout_predictor())
    assert (tmp_path / "out" / name).read_text() == "x"


def test_two_runs_at_once_do_not_mix_their_parts(tmp_path, lines):
    out, good = tmp_path / "out", shout_predictor()

    def answer(texts, pairs):
        record = json.loads((out / "_predictions.json").read_text())
        if not record["parts"]:  # another process, which writes a part meanwhile
            inner = type(good)(good.predict, good.labels, False, good.fingerprint)
            predict_table(str(lines), str(out), inner, PredictionSettings(**SMALL))
        return good.predict(texts, pairs)

    outer = type(good)(answer, good.labels, False, good.fingerprint)
    with pytest.raises(ConflictError, match="Another process writes predictions"):
        predict_table(str(lines), str(out), outer, PredictionSettings(**SMALL))


@pytest.fixture
def two_runs(place, tmp_path):
    """An older run, and one that began since: writers of parts, and a function that says what is there."""

    def begin(model):
        parts = Parts(f"{place}/out", {"model": model}, ["a"])
        parts.begin()
        return parts

    def add(parts, content):
        path = tmp_path / "part"
        path.write_text(content)
        parts.add(path, 1, {"rows": 1})

    def there():
        store = open_store(f"{place}/out")
        return {one.name: store.read(one.name).data.decode() for one in store.list("part")}

    return begin, add, there


@pytest.mark.parametrize("model", ["same", "another"])
def test_an_older_run_that_still_lives_does_not_write_over_the_parts_of_the_one_that_began_last(two_runs, model):
    begin, add, there = two_runs
    old = begin("same")
    new = begin(model)
    add(new, "new 0")
    for _ in range(2):
        with pytest.raises(ConflictError, match="Another process writes predictions"):
            add(old, "old, and longer")
    add(new, "new 1")
    new.finish({"rows": 2})
    with pytest.raises(ConflictError, match="Another process writes predictions"):
        old.finish({"rows": 0})
    assert there() == {"part-00000.parquet": "new 0", "part-00001.parquet": "new 1"}


def test_what_an_older_run_had_under_way_is_written_over_and_removed(two_runs, place, tmp_path):
    begin, add, there = two_runs
    begin("same")
    new = begin("same")
    for number in (0, 3):  # requests of the older run that had left it before the other one began
        open_store(f"{place}/out").write(f"part-0000{number}.parquet", b"old")
    add(new, "new 0")
    new.finish({"rows": 1})
    assert there() == {"part-00000.parquet": "new 0"}


@pytest.mark.parametrize("name", ["write", "delete"])
def test_a_part_that_is_not_what_was_written_ends_the_run(two_runs, place, name):
    begin, add, _ = two_runs
    run = begin("same")
    add(run, "new 0")
    getattr(open_store(f"{place}/out"), name)("part-00000.parquet", *([b"of others"] if name == "write" else []))
    with pytest.raises(ConflictError, match="Another process writes predictions"):
        run.finish({"rows": 1})


def test_an_output_that_cannot_be_written_is_a_clear_error_before_a_text_is_asked(tmp_path, lines):
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file" / "out", Path("/proc/out")):
        asked = []
        with pytest.raises(UserError, match=f"the output {target} can't be written"):
            predict_table(str(lines), str(target), shout_predictor(asked=asked))
        assert not asked


def test_a_bucket_is_read_and_written(cloud, tmp_path):
    for number in range(3):
        rows = "".join(f"{number}{i},line {i}\n" for i in range(10))
        cloud.put("bucket", f"tables/deep/{number}.csv", f"id,text\n{rows}".encode())
    for name in ("tables/_SUCCESS", "tables/", "out/"):  # the last two as a console makes them for folders
        cloud.put("bucket", name, b"")
    table, out = f"{cloud.root}/tables", f"{cloud.root}/out"
    with pytest.raises(Killed):
        predict_table(table, out, killing(after=3), PredictionSettings(part_rows=7))
    found = predict_table(table, out, shout_predictor(), PredictionSettings(part_rows=7))
    assert (found.rows, found.parts) == (30, 5)
    download_folder(open_store(cloud.root), "out", tmp_path / "out")
    assert ids(tmp_path / "out") == [10 * number + i for number in range(3) for i in range(10)]
    again = predict_table(f"{table}/**/[01].csv", f"{cloud.root}/out2", shout_predictor())
    assert again.rows == 20


def test_an_object_beside_the_table_that_is_no_part_of_it_does_not_start_a_run_anew(cloud, tmp_path, lines):
    open_store(cloud.root).upload(lines, "tables/lines.csv")  # with a checksum, which the newest object may not have
    with pytest.raises(Killed):
        predict_table(f"{cloud.root}/tables", f"{cloud.root}/out", killing(after=3), PredictionSettings(**SMALL))
    time.sleep(1.1)  # times of a listing are whole seconds
    cloud.put("bucket", "tables/_SUCCESS", b"done")
    asked = []
    predict_table(
        f"{cloud.root}/tables", f"{cloud.root}/out", shout_predictor(asked=asked), PredictionSettings(**SMALL)
    )
    assert sum(map(len, asked)) == 700


@pytest.mark.parametrize("kind", ["lost_reply", "late_504"])
@pytest.mark.parametrize("skip", [0, 1, 3])
def test_a_record_whose_write_got_no_answer_is_known_as_ones_own(cloud, tmp_path, kind, skip):
    lines = write_csv(tmp_path / "lines.csv", [(str(i), f"line {i}") for i in range(20)])
    lost = cloud.break_write(kind, "_predictions.json|^/upload")
    lost.in_body, lost.skip = b'"labels"', skip
    found = predict_table(str(lines), f"{cloud.root}/out", shout_predictor(), PredictionSettings(part_rows=10))
    assert (found.rows, found.parts, lost.hits) == (20, 2, 1)


MEASURED = """
import sys
from pathlib import Path
from kfp_bert_components.prediction import PredictionSettings, predict_table
from kfp_bert_components.prediction.parts import Parts
from tests.support.predictors import shout_predictor
found = predict_table(sys.argv[1], sys.argv[2], shout_predictor(), PredictionSettings())
(peak,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
print(found.rows, int(peak) // 1024)
"""


def run_measured(table, out):
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, table, out], capture_output=True, text=True, env=env, check=True
    )
    return map(int, done.stdout.split("\n")[-2].split())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path):
    few, many = 400_000, 1_000_000  # from about 300,000 rows on, the buffers of the reader and the writer are full
    peaks = {}
    for count in (few, many):
        table = tmp_path / f"{count}.csv"
        with table.open("w") as file:
            file.write("id,text\n")
            file.writelines(f'{i},"a line of some words that is not long, number {i}"\n' for i in range(count))
        rows, peaks[count] = run_measured(str(table), str(tmp_path / f"out-{count}"))
        assert rows == count
    assert peaks[many] < peaks[few] + 50, peaks  # MB; all rows and answers would be 100 more


ENDLESS = """
import sys, time
from kfp_bert_components.prediction import PredictionSettings, predict_table
from kfp_bert_components.prediction.parts import Parts
from tests.support.predictors import shout_predictor
good = shout_predictor()
def slow(texts, pairs):
    time.sleep(0.05)
    return good.predict(texts, pairs)
slowly = type(good)(slow, good.labels, False, good.fingerprint)
predict_table(sys.argv[1], sys.argv[2], slowly, PredictionSettings(part_rows=100))
"""


def test_a_process_that_was_killed_leaves_whole_parts_only_and_another_goes_on(tmp_path, lines):
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    out, asked = tmp_path / "out", []
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(lines), str(out)], env=env)
    deadline = time.monotonic() + 60
    while len(list(out.glob("part-*.parquet"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = sum(pq.read_metadata(path).num_rows for path in out.glob("part-*.parquet"))
    assert 300 <= there < 1000
    predict_table(str(lines), str(out), shout_predictor(asked=asked), PredictionSettings(part_rows=100))
    assert sum(map(len, asked)) in (1000 - there, 1100 - there)  # a part that the record did not name yet
    assert ids(out) == list(range(1000))
