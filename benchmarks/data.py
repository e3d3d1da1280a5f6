"""Measure prepare_text_data: processor time against an earlier version, rows a second against pandas, memory at ten
million rows, and the share of near duplicates that are found.

    python benchmarks/data.py [--rows 1000000] [--runs 3] [--big-rows 10000000] [--before CHECKOUT]

All read the same CSV. pandas drops repeated texts, splits by 80 : 10 : 10 and writes three Parquet files. Ours also
does all checks, looks for exact, normalised and near duplicates between the splits, and writes the report. Each run is
a process of its own, one of each kind in turn; the time is that of the work, without the imports. Before each run some
memory is filled and freed: virtual machines are slow to hand out memory that was not used lately, which says nothing of
any side.
"""

import argparse
import csv
import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import median

import numpy as np

OURS = """
import resource, sys, time
from pathlib import Path
import matplotlib.figure
from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.steps.prepare_text_data import prepare_text_data as work
"""
# Before `steps` there was one function for the data and the page.
BEFORE = """
import resource, sys, time
from pathlib import Path
import matplotlib.figure
from kfp_bert_components.data import PrepareSettings, prepare as work
"""
WORK = """
source, folder = map(Path, sys.argv[1:])
start, processor = time.perf_counter(), time.process_time()
settings = PrepareSettings(duplicates="drop", conflicting_labels="drop")
work(source, folder / "train", folder / "validation", folder / "test", folder / "report.html", settings)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(time.perf_counter() - start, time.process_time() - processor, peak)
"""
FILL = "import numpy; numpy.ones(1 << 31, numpy.uint8)"
PANDAS = """
import resource, sys, time
from pathlib import Path
import numpy, pandas
source, folder = map(Path, sys.argv[1:])
folder.mkdir()
start, processor = time.perf_counter(), time.process_time()
table = pandas.read_csv(source).drop_duplicates("text")
place = numpy.random.default_rng(0).random(len(table))
for name, low, high in (("train", 0, 0.8), ("validation", 0.8, 0.9), ("test", 0.9, 1)):
    table[(place >= low) & (place < high)].to_parquet(folder / f"{name}.parquet", index=False)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(time.perf_counter() - start, time.process_time() - processor, peak)
"""
ROOT = Path(__file__).parents[1]
SIMILARITY = 0.8


@dataclass(frozen=True)
class Run:
    """One run: seconds, seconds of processor time, and the highest memory in GiB."""

    seconds: float
    processor: float
    peak: float


def write_table(path: Path, rows: int) -> None:
    """Lines of 5 to 60 words whose frequencies follow Zipf's law, one in twenty a repetition of an earlier one."""
    rng = random.Random(0)
    letters = "etaoinshrdlucmfwypvbgk"
    vocabulary = ["".join(rng.choices(letters, k=rng.randint(2, 10))) for _ in range(50_000)]
    weights = list(accumulate(1 / rank for rank in range(1, len(vocabulary) + 1)))
    recent: list[str] = []
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for number in range(rows):
            if recent and rng.random() < 0.05:
                text = rng.choice(recent)
            else:
                words = rng.choices(vocabulary, cum_weights=weights, k=rng.randint(5, 60))
                text = " ".join(words).capitalize() + "."
                recent[number % 1000 : number % 1000 + 1] = [text]
            file.write(f'"{text}",label {number % 6}\n' if number % 10 == 0 else f"{text},label {number % 6}\n")


def repeat_table(source: Path, rows: int, have: int) -> None:
    """Make the table longer; each further copy has a word of its own in every row, so that no row repeats."""
    original = source.with_suffix(".small")
    source.rename(original)
    with source.open("w", encoding="utf-8") as target:
        target.write("text,label\n")
        for copy in range(rows // have):
            with original.open(encoding="utf-8") as lines:
                next(lines)
                for number, line in enumerate(lines):
                    target.write(f'"c{copy}n{number} {line[1:]}' if line[0] == '"' else f"c{copy}n{number} {line}")
    original.unlink()


def run(code: str, source: Path, folder: Path, checkout: Path = ROOT) -> Run:
    """Run some code in a process of its own, with the package of a checkout."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-c", FILL], check=True)
    done = subprocess.run(
        [sys.executable, "-c", code, str(source), str(folder)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(checkout / "src"), os.environ.get("PYTHONPATH", "")])},
    )
    shutil.rmtree(folder, ignore_errors=True)
    return Run(*map(float, done.stdout.split()[-3:]))


def measure_speed(source: Path, folder: Path, rows: int, runs: int, before: Path | None) -> list[dict]:
    """Ours, pandas and perhaps an earlier version in turn; the first round warms caches and does not count."""
    import pandas

    sides = {"ours": (OURS + WORK, ROOT), "pandas": (PANDAS, ROOT)}
    if before:
        steps = (before / "src/kfp_bert_components/steps").is_dir()
        sides["before"] = ((OURS if steps else BEFORE) + WORK, before)
    rounds = []
    for _ in range(runs + 1):
        rounds.append({name: run(code, source, folder, checkout) for name, (code, checkout) in sides.items()})
        print(rounds[-1], flush=True)
    rate = round(rows / median(one["ours"].seconds for one in rounds[1:]))
    results = [
        {
            "name": "rows_per_second_vs_pandas",
            "value": round(median(one["pandas"].seconds / one["ours"].seconds for one in rounds[1:]), 3),
            "peer": "pandas",
            "peer_version": pandas.__version__,
            "runs": runs,
            "rows_per_second": rate,
        }
    ]
    if before:
        ratios = [one["before"].processor / one["ours"].processor for one in rounds[1:]]
        commit = subprocess.run(["git", "-C", before, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
        results.append(
            {
                "name": "rows_per_second_vs_before",
                "value": round(median(ratios), 3),
                "peer": "kfp-bert-components",
                "peer_version": commit.stdout.strip() or "?",
                "runs": runs,
                "of": "processor time",
            }
        )
    return results


def measure_memory(source: Path, folder: Path, rows: int, have: int) -> dict:
    """The highest memory of one run over a table made longer."""
    repeat_table(source, rows, have)
    done = run(OURS + WORK, source, folder)
    return {
        "name": "peak_gib_10m_rows",
        "value": round(done.peak, 2),
        "peer": None,
        "peer_version": None,
        "runs": 1,
        "rows": rows,
        "gib_of_csv": round(source.stat().st_size / 2**30, 2),
        "seconds": round(done.seconds),
        "processor_seconds": round(done.processor),
    }


def measure_recall(films: Path) -> dict:
    """The share of film lines, each changed in up to a fifth of its words, that are found to be near the original."""
    import pyarrow as pa

    from kfp_bert_components.data.near_duplicates import NearIndex
    from kfp_bert_components.data.words import hash_words

    texts: dict[str, None] = {}
    for path in sorted(films.glob("*.csv")):
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            texts.update((row[0], None) for row in csv.reader(file) if row and row[0].isascii())
    lines = [words for text in texts if len(words := re.findall(r"[a-z0-9]+", text.lower())) >= 5]
    rng = random.Random(0)
    vocabulary = [word for words in lines for word in words]
    kept, asking = [], []
    for words in lines:
        changed = list(words)
        for place in rng.sample(range(len(words)), rng.randint(1, max(1, len(words) // 9))):
            changed[place] = rng.choice(vocabulary)
        common = (Counter(words) & Counter(changed)).total()
        if changed != words and common / (2 * len(words) - common) >= SIMILARITY:
            kept.append(" ".join(words))
            asking.append(" ".join(changed))
    index = NearIndex([hash_words(pa.array(kept))[0]], np.ones(len(kept), np.int8), SIMILARITY)
    found, _ = index.find(hash_words(pa.array(asking))[0], np.zeros(len(asking), np.int8))
    value = round(len(found) / len(kept), 4)
    return {"name": "near_recall", "value": value, "peer": None, "peer_version": None, "runs": 1, "pairs": len(kept)}


def environment() -> dict:
    """Where the figures come from."""
    import pyarrow

    processor = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", processor)
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "processor": model.group(1) if model else platform.processor(),
        "instruction_sets": sorted({"avx2", "avx512f", "amx_tile"} & set(processor.split())),
        "python": platform.python_version(),
        "pyarrow": pyarrow.__version__,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3, help="0 leaves the speed out")
    parser.add_argument("--big-rows", type=int, default=10_000_000, help="0 leaves the memory out")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier version to compare with")
    asked = parser.parse_args()
    results, missing = [], {}
    with tempfile.TemporaryDirectory(prefix="bench-data-") as name:
        source, folder = Path(name) / "table.csv", Path(name) / "out"
        write_table(source, asked.rows)
        if asked.runs:
            results += measure_speed(source, folder, asked.rows, asked.runs, asked.before)
        else:
            missing["rows_per_second_vs_pandas"] = "--runs 0 was given"
        if not (asked.runs and asked.before):
            missing["rows_per_second_vs_before"] = "--before FOLDER was not given"
        if asked.big_rows:
            results.append(measure_memory(source, folder, asked.big_rows, asked.rows))
        else:
            missing["peak_gib_10m_rows"] = "--big-rows 0 was given"
    films = Path(os.environ.get("IMSDB_FOLDER", ROOT.parent / "shared/data/imsdb"))
    if any(films.glob("*.csv")):
        results.append(measure_recall(films))
    else:
        missing["near_recall"] = f"{films} holds no films: set IMSDB_FOLDER"
    print(json.dumps({"benchmark": "data", "environment": environment(), "results": results, "missing": missing}))


if __name__ == "__main__":
    main()
