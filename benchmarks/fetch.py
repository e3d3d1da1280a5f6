"""Fetching against gcloud storage cp, the client library's transfer_manager, and obstore; on s3:// against boto3's
transfer manager and aws s3 cp.

    python benchmarks/fetch.py [--runs 7] [--quick]

Prints what it does on stderr and one line of JSON last. A value is the median, over interleaved pairs, of the
peer's time over ours. Ours checks every byte against the listing; obstore checks nothing. On s3:// the listing has no
checksum here: ours checks sizes, and that each object is the one that was listed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import io
import json
import multiprocessing
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import fetch_peers as peers
from fetch_servers import Nginx, SlowServer, free_port, make_bucket

Run = Callable[[str, Path], None]
NUMBERS = count()


def seconds(run: Run, folder: str, place: Path) -> float:
    """The time of one download into a new folder, checked to be whole afterwards."""
    target = place / f"target-{next(NUMBERS)}"
    os.sync()
    # Virtual machines are slow to hand out memory that was not used lately, which says nothing of either side.
    subprocess.run([sys.executable, "-c", "import numpy; numpy.ones(1 << 30, numpy.uint8)"], check=True)
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        run(folder, target)
    spent = time.perf_counter() - start
    files = {path.name: path.stat().st_size for path in target.rglob("*.bin")}
    wanted = {path.name: path.stat().st_size for path in (place / "bucket" / "data" / folder).iterdir()}
    assert files == wanted, f"{len(files)} of {len(wanted)} files came"
    # Emptied, and not removed: an ext4 without a journal makes files slowly for minutes after many were removed.
    for path in target.rglob("*.bin"):
        os.truncate(path, 0)
    return spent


def best(settings: dict[str, Run], folder: str, place: Path) -> tuple[str, Run]:
    """The fastest of several settings of a peer, each tried twice."""
    times = {}
    for name, run in settings.items():
        times[name] = min(seconds(run, folder, place) for _ in range(2))
        say(f"  {name}: {times[name]:.3f} s")
    name = min(times, key=lambda one: times[one])
    return name, settings[name]


def compare(name: str, mine: Run, peer: Run, folder: str, place: Path, runs: int, version: str) -> dict:
    """The median ratio of interleaved runs, after one of each that does not count."""
    pairs = []
    for turn in range(runs + 1):
        own, other = seconds(mine, folder, place), seconds(peer, folder, place)
        if turn:
            pairs.append((own, other))
    value = statistics.median(other / own for own, other in pairs)
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    say(f"{name}: {value:.2f} (ours {medians[0]:.3f} s, {version} {medians[1]:.3f} s)")
    return {
        "name": name,
        "value": round(value, 3),
        "peer": version.split(" ")[0],
        "peer_version": version,
        "runs": runs,
        "seconds": round(medians[0], 4),
        "peer_seconds": round(medians[1], 4),
    }


def processor() -> str:
    """The model's name and number, and its widest instruction sets, as Linux tells them."""
    text = Path("/proc/cpuinfo").read_text()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    sets = [one for one in ("avx2", "avx512f", "amx_tile") if one in facts.get("flags", "").split()]
    return f"{facts.get('model name', '')}, model {facts.get('model', '')}, {' '.join(sets)}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def gcloud_version() -> str:
    if not shutil.which("gcloud"):
        return ""
    text = subprocess.run(["gcloud", "--version"], capture_output=True, text=True).stdout
    return text.splitlines()[0].removeprefix("Google Cloud SDK ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a tenth of the data, to try the script")
    parser.add_argument("--only", default="", help="run only the comparisons whose name holds this")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped too
    scale = 10 if given.quick else 1
    results: list[dict] = []
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="bench-fetch-") as scratch:
        place = Path(scratch)
        place.chmod(0o755)  # the workers of nginx may run as another user
        folders = {
            "large": (1, 512_000_000 // scale),
            "small": (2000 // scale, 20_000),
            "medium": (400, 20_000),
        }
        (place / "bucket").mkdir()
        port = free_port()
        make_bucket(place / "bucket", folders, port)
        if shutil.which("nginx") or Path("/usr/sbin/nginx").exists():
            with Nginx(place / "bucket", port) as url:
                os.environ["STORAGE_EMULATOR_HOST"] = url
                against_gcloud(url, place, given, results, missing)
                against_transfer_manager(place, given, results)
                against_aws(url, place, given, results, missing)
        else:
            for name in (
                f"{folder}_vs_{peer}"
                for peer in ("gcloud", "transfer_manager", "boto3", "aws")
                for folder in ("large", "small")
            ):
                missing[name] = "nginx is not installed (Debian: apt-get install nginx-light)"
        against_obstore(place, given, results)
    if not results and not missing:
        parser.error(f"--only {given.only}: no comparison has that in its name, such as large_vs_boto3")
    environment = {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "processor": processor(),
        "obstore": importlib.metadata.version("obstore"),
        "google-cloud-storage": importlib.metadata.version("google-cloud-storage"),
    }
    print(json.dumps({"benchmark": "fetch", "environment": environment, "results": results, "missing": missing}))


def against_gcloud(
    url: str, place: Path, given: argparse.Namespace, results: list[dict], missing: dict[str, str]
) -> None:
    names = [name for name in ("large_vs_gcloud", "small_vs_gcloud") if given.only in name]
    version = gcloud_version()
    for name in names:
        if not version:
            missing[name] = "gcloud is not installed"
            continue
        run = peers.gcloud(url, place / "gcloud")
        folder = name.split("_")[0]
        try:
            results.append(
                compare(name, peers.ours_as_command, run, folder, place, min(given.runs, 5), f"gcloud {version}")
            )
        except RuntimeError as error:
            missing[name] = f"gcloud failed: {str(error).strip().splitlines()[-1]}"


def against_transfer_manager(place: Path, given: argparse.Namespace, results: list[dict]) -> None:
    version = f"transfer_manager {importlib.metadata.version('google-cloud-storage')}"
    large = {
        f"{kind} x {workers}, {chunk >> 20} MiB": partial(peers.transfer_manager_large, workers, kind, chunk)
        for kind, workers in (("thread", 2), ("thread", 4), ("thread", 8), ("process", 2), ("process", 4))
        for chunk in (16 << 20, 64 << 20)
    }
    small = {
        f"{kind} x {workers}": partial(peers.transfer_manager_small, workers, kind)
        for kind in ("thread", "process")
        for workers in (2, 4, 8)
    }
    # In a process that stays: it forks others, which it must not do beside our threads.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=fork_from_now_on) as pool:
        for folder, settings in (("large", large), ("small", small)):
            name = f"{folder}_vs_transfer_manager"
            if given.only in name:
                elsewhere = {name: partial(run_in, pool, run) for name, run in settings.items()}
                setting, run = best(elsewhere, folder, place)
                results.append(compare(name, peers.ours, run, folder, place, given.runs, f"{version} ({setting})"))


def against_aws(url: str, place: Path, given: argparse.Namespace, results: list[dict], missing: dict[str, str]) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    os.environ.update({**keys, "AWS_ENDPOINT_URL": url})
    for folder in ("large", "small"):
        name = f"{folder}_vs_boto3"
        if given.only in name and not importlib.util.find_spec("boto3"):
            missing[name] = "boto3 is not installed"
        elif given.only in name:
            settings = {
                f"{workers} threads, {chunk >> 20} MiB": peers.boto3(url, workers, chunk)
                for workers in (4, 10, 32)
                for chunk in ((8 << 20, 64 << 20) if folder == "large" else (8 << 20,))
            }
            setting, run = best(settings, folder, place)
            version = f"boto3 {importlib.metadata.version('boto3')} ({setting})"
            results.append(compare(name, peers.ours_on_s3, run, folder, place, given.runs, version))
        name = f"{folder}_vs_aws"
        if given.only in name and not shutil.which("aws"):
            missing[name] = "the AWS command line is not installed"
        elif given.only in name:
            text = subprocess.run(["aws", "--version"], capture_output=True, text=True).stdout
            mine = partial(peers.ours_as_command, scheme="s3")
            version = text.split(" ")[0].replace("/", " ")
            results.append(compare(name, mine, peers.aws(url), folder, place, min(given.runs, 5), version))


def fork_from_now_on() -> None:
    multiprocessing.set_start_method("fork", force=True)


def run_in(pool: Executor, run: Run, folder: str, target: Path) -> None:
    pool.submit(run, folder, target).result()


def against_obstore(place: Path, given: argparse.Namespace, results: list[dict]) -> None:
    name = "latency_vs_obstore"
    if given.only not in name:
        return
    version = f"obstore {importlib.metadata.version('obstore')}"
    with SlowServer(place / "bucket", 0.025) as url:
        os.environ["STORAGE_EMULATOR_HOST"] = url
        settings = {f"{count} at once": peers.obstore(url, count) for count in (32, 64, 128, 256, 400)}
        setting, run = best(settings, "medium", place)
        results.append(compare(name, peers.ours, run, "medium", place, given.runs * 2 + 1, f"{version} ({setting})"))


if __name__ == "__main__":
    main()
