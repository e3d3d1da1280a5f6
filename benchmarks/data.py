"""Measure prepare against pandas: rows a second from CSV to splits, and memory at ten million rows.

    python benchmarks/data.py [--rows 1000000] [--runs 3] [--big-rows 10000000]

Both read the same CSV, drop repeated texts, split by 80 : 10 : 10 and write three Parquet files. Ours also does all
checks, looks for exact, normalised and near duplicates between the splits, and writes the report. Each run is a
process of its own, ours and theirs in turn; the time is that of the work, without the imports. Before each run some
memory is filled and freed: virtual machines are slow to hand out memory that was not used lately, which says nothing of
either side.
"""

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
from itertools import accumulate
from pathlib import Path
from statistics import median

OURS = """
import resource, sys, time
from pathlib import Path
import kfp_bert_components.data.prepare_data, kfp_bert_components.reports.data, matplotlib.figure
from kfp_bert_components.data import PrepareSettings, prepare
source, folder = map(Path, sys.argv[1:])
start = time.perf_counter()
prepare(source, folder / "train", folder / "validation", folder / "test", folder / "report.html", PrepareSettings())
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""
FILL = "import numpy; numpy.ones(1 << 31, numpy.uint8)"
PANDAS = """
import resource, sys, time
from pathlib import Path
import numpy, pandas
source, folder = map(Path, sys.argv[1:])
folder.mkdir()
start = time.perf_counter()
table = pandas.read_csv(source).drop_duplicates("text")
place = numpy.random.default_rng(0).random(len(table))
for name, low, high in (("train", 0, 0.8), ("validation", 0.8, 0.9), ("test", 0.9, 1)):
    table[(place >= low) & (place < high)].to_parquet(folder / f"{name}.parquet", index=False)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


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


def run(code: str, source: Path, folder: Path) -> tuple[float, float]:
    """Seconds and GiB of one run."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-c", FILL], check=True)
    done = subprocess.run(
        [sys.executable, "-c", code, str(source), str(folder)], check=True, capture_output=True, text=True
    )
    seconds, memory = done.stdout.split()[-2:]
    shutil.rmtree(folder, ignore_errors=True)
    return float(seconds), float(memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--big-rows", type=int, default=10_000_000, help="0 leaves the memory out")
    asked = parser.parse_args()
    import pandas
    import pyarrow

    with tempfile.TemporaryDirectory(prefix="bench-data-") as name:
        source, folder = Path(name) / "table.csv", Path(name) / "out"
        write_table(source, asked.rows)
        size = source.stat().st_size
        pairs = []
        for number in range(asked.runs + 1):
            ours, theirs = run(OURS, source, folder), run(PANDAS, source, folder)
            for name, (seconds, memory) in (("ours", ours), ("pandas", theirs)):
                print(f"{name}: {seconds:.2f} s, {memory:.2f} GiB", flush=True)
            if number:  # the first pair warms the file cache
                pairs.append((ours[0], theirs[0]))
        results = [
            {
                "name": "rows_per_second_vs_pandas",
                "value": round(median(b / a for a, b in pairs), 3),
                "peer": "pandas",
                "peer_version": pandas.__version__,
                "runs": asked.runs,
                "rows_per_second": round(asked.rows / median(a for a, _ in pairs)),
            }
        ]
        missing = {}
        if asked.big_rows:
            repeat_table(source, asked.big_rows, asked.rows)
            seconds, memory = run(OURS, source, folder)
            results.append(
                {
                    "name": "peak_gib_10m_rows",
                    "value": round(memory, 2),
                    "peer": None,
                    "peer_version": None,
                    "runs": 1,
                    "rows": asked.big_rows,
                    "gib_of_csv": round(source.stat().st_size / 2**30, 2),
                    "seconds": round(seconds),
                }
            )
        else:
            missing["peak_gib_10m_rows"] = "--big-rows 0 was given"
    environment = {
        "cpus": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "pyarrow": pyarrow.__version__,
        "load": os.getloadavg()[0],
        "csv_mb": round(size / 1e6),
    }
    print(json.dumps({"benchmark": "data", "environment": environment, "results": results, "missing": missing}))


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


if __name__ == "__main__":
    main()
