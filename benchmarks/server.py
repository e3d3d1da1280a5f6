"""`kfp-bert serve` beside KServe's Python server with transformers on torch: `make bench-server`.

Both serve the same MiniLM classifier of 8 classes in float32 with the same number of threads, and answer the same film
lines (or made-up ones where the films are not at hand), one in a request, to the same clients, in turn. The clients run
on the same cores. KServe is measured with a call of the model for each request, as its own server for Hugging Face
models works, and with calls that hold what waits; the better of the two counts.

A value is the median over the rounds. Rates are ours over theirs (higher is better); seconds, memory (resident, after
the first answer) and size ours over theirs (lower is better). Results without a peer: `keep_alive_overhead_ms` is the
median time of an HTTP request of one client on one connection, less that of the engine called for the same texts here;
and with --soak `soak_errors` and `soak_memory_change`, how far a minute's memory was at most from that of the median
minute, as a share of it.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
BENCHMARKS = ROOT / "benchmarks"
PEERS = Path(os.environ.get("KFP_BERT_PEERS_KSERVE", ROOT / ".peers-kserve")) / "bin" / "python"
CLASSES, CLIENTS = 8, (8, 64)
PEER = "KServe and transformers on torch"
CALLS = {"a call for each request": 1, "calls of what waits": 32}
MOST_SECONDS = 120  # from a server's start to its first answer
JSON = {"Content-Type": "application/json"}
MINUTE = 60
LOAD_SHARE = 0.8  # of the capacity, in the soak test


class Server:
    """A server's process, which has answered once.

    Args:
        command: What starts it; a port is put behind it.

    Attributes:
        url: Where it is asked.
        seconds: From its start to its first answer.
        megabytes: Resident memory after that.
    """

    def __init__(self, command: list[str]) -> None:
        from benchmarks.fetch_servers import free_port

        port = free_port()
        self.url = f"http://127.0.0.1:{port}/v1/models/bert:predict"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        variables = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT / "src")}
        start = time.perf_counter()
        self._process = subprocess.Popen([*command, str(port)], stdout=self._log, stderr=self._log, env=variables)
        while not self._answers():
            if time.perf_counter() - start > MOST_SECONDS:
                sys.exit(f"a server does not answer:\n{self._last_words()}")
            time.sleep(0.01)
        self.seconds, self.megabytes = time.perf_counter() - start, self.resident()

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            sys.exit(f"a server ended:\n{self._last_words()}")
        request = urllib.request.Request(self.url, b'{"instances": ["INT. KITCHEN - NIGHT"]}', JSON)
        try:
            with urllib.request.urlopen(request, timeout=MOST_SECONDS) as response:
                return response.status == 200
        except OSError:  # it does not listen, or says that it is not ready
            return False

    def _last_words(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-2000:]

    def resident(self) -> float:
        """Resident memory now, in MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1000

    def metric(self, name: str) -> float:
        """A number from our server's /metrics."""
        with urllib.request.urlopen(self.url.split("/v1/")[0] + "/metrics") as response:
            return float(re.findall(rf"^{name} (\S+)$", response.read().decode(), re.MULTILINE)[0])

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=60)


class Load:
    """The process that asks servers; see benchmarks/server_load.py."""

    def __init__(self, texts: Path) -> None:
        command = [str(PEERS), str(BENCHMARKS / "server_load.py"), str(texts)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, server: Server, **request: float) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"url": server.url, **request}) + "\n")
        self._process.stdin.flush()
        found = json.loads(self._process.stdout.readline())
        if found["errors"]:
            print(f"{found['errors']} errors, such as {found['error']}", flush=True)
        return found

    def rate(self, server: Server, clients: int, seconds: float) -> float:
        """Requests that were answered in a second."""
        found = self.run(server, clients=clients, seconds=seconds)
        if found["errors"]:
            sys.exit(f"a server failed on {found['errors']} requests of {clients} clients")
        return found["answers"] / found["seconds"]

    def close(self) -> None:
        self._process.communicate()


def ours(path: Path, threads: int) -> Server:
    command = [sys.executable, "-m", "kfp_bert_components.cli", "serve", str(path), "--threads", str(threads)]
    return Server([*command, "--port"])


def theirs(checkpoint: Path, threads: int, most: int) -> Server:
    command = [str(PEERS), str(BENCHMARKS / "server_peer.py"), str(checkpoint), str(threads), str(most)]
    return Server([*command, "--http_port"])


def written_bundle(folder: Path) -> Path:
    """A model bundle, written by a process of its own: TensorFlow's memory and threads are gone when it has ended."""
    program = (
        "from pathlib import Path; import sys; from benchmarks.serving import written; "
        "from kfp_bert_components.bert import load_checkpoint; from tests.support.minilm import minilm_folder; "
        f"written(load_checkpoint(str(minilm_folder()), [f'class {{i}}' for i in range({CLASSES})]), "
        "Path(sys.argv[1]), 'float32')"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True, env=environment, cwd=ROOT)
    return folder


def compare_starts(bundle: Path, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Seconds to the first answer, and memory after it."""
    seconds, memory = [], []
    for _ in range(rounds + 1):  # the first one brings the files into memory
        pair = []
        for start in (lambda: ours(bundle, threads), lambda: theirs(bundle / "huggingface", threads, 1)):
            server = start()
            server.close()
            pair.append(server)
        one, other = pair
        print(f"start: ours {one.seconds:.2f} s, {one.megabytes:.0f} MB; ", end="")
        print(f"KServe {other.seconds:.2f} s, {other.megabytes:.0f} MB", flush=True)
        seconds.append(one.seconds / other.seconds)
        memory.append(one.megabytes / other.megabytes)
    return [
        compared("start_vs_kserve", median(seconds[1:]), rounds),
        compared("memory_vs_kserve", median(memory[1:]), rounds),
    ]


def compare_rates(load: Load, bundle: Path, threads: int, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Requests a second."""
    server = ours(bundle, threads)
    peers = {name: theirs(bundle / "huggingface", threads, most) for name, most in CALLS.items()}
    results = []
    for clients in CLIENTS:
        for one in (server, *peers.values()):
            load.rate(one, clients, 1)
        ratios = []
        for _ in range(rounds):
            mine = load.rate(server, clients, seconds)
            rates = {name: load.rate(peer, clients, seconds) for name, peer in peers.items()}
            best = max(rates, key=lambda name: rates[name])
            ratios.append(mine / rates[best])
            shown = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
            print(f"{clients} clients, requests/s: ours {mine:.0f}; KServe with {shown}", flush=True)
        results.append(compared(f"requests_per_second_{clients}_vs_kserve", median(ratios), rounds))
    print(f"memory after all requests: ours {server.resident():.0f} MB, KServe ", end="")
    print(" and ".join(f"{peer.resident():.0f} MB" for peer in peers.values()), flush=True)
    for one in (server, *peers.values()):
        one.close()
    return results


def overhead(
    load: Load, texts: list[str], bundle: Path, threads: int, rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """What HTTP adds to the engine's time, one client on one connection."""
    from kfp_bert_components.bert.onnx_model import OnnxModel

    server, engine = ours(bundle, threads), OnnxModel(bundle, threads=threads)
    found = []
    for turn in range(rounds + 1):  # the first one warms up
        served = load.run(server, clients=1, seconds=seconds)["p50"]
        alone, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end:
            for text in texts:
                start = time.perf_counter()
                engine.probabilities(engine.tokenize([text]))
                alone.append(time.perf_counter() - start)
        if turn:
            found.append(1e3 * (served - median(alone)))
            print(f"one client: {1e3 * served:.2f} ms, the engine alone {1e3 * median(alone):.2f} ms", flush=True)
    server.close()
    return [{"name": "keep_alive_overhead_ms", "value": round(median(found), 3), "runs": rounds}]


def compare_sizes() -> list[dict[str, Any]]:
    """Bytes that have to be installed."""
    sizes = []
    for python, needed in (
        (sys.executable, ["kfp-bert-components[serve]", str(ROOT / "src")]),
        (str(PEERS), ["kserve", "torch", "transformers"]),
    ):
        command = [python, str(BENCHMARKS / "installed_size.py"), *needed]
        sizes.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    print(f"installed: ours {sizes[0] / 1e6:.0f} MB, KServe {sizes[1] / 1e6:.0f} MB", flush=True)
    return [compared("installed_size_vs_kserve", sizes[0] / sizes[1], 1)]


def soak(load: Load, bundle: Path, folder: Path, threads: int, minutes: int) -> list[dict[str, Any]]:
    """A share of the capacity for some minutes, and a new version at the end of each but the last."""

    def put(number: int) -> None:
        shutil.copytree(bundle, folder / f".{number}")
        (folder / f".{number}").rename(folder / str(number))
        shutil.rmtree(folder / str(number - 2), ignore_errors=True)

    folder.mkdir()
    put(1)
    server = ours(folder, threads)
    rate = LOAD_SHARE * median(load.rate(server, 64, 5) for _ in range(3))
    memory: list[list[float]] = [[] for _ in range(minutes)]
    ended = threading.Event()

    def watch() -> None:
        start = time.perf_counter()
        while not ended.wait(1):
            passed = time.perf_counter() - start
            minute = min(int(passed / MINUTE), minutes - 1)
            memory[minute].append(server.resident())
            if len(memory[minute]) == 1 and minute:
                put(minute + 1)

    thread = threading.Thread(target=watch)
    thread.start()
    found = load.run(server, rate=rate, seconds=MINUTE * minutes)
    ended.set()
    thread.join()
    loads = server.metric("kfp_bert_model_loads_total")
    server.close()
    medians = [median(one) for one in memory]
    change = max(abs(one / median(medians) - 1) for one in medians)
    print(f"{minutes} minutes at {rate:.0f} requests/s: {found['answers']} answers, {found['errors']} errors, ", end="")
    print(f"p50 {1e3 * found['p50']:.1f} ms, p99 {1e3 * found['p99']:.1f} ms, {loads:.0f} versions were loaded")
    print(f"memory by minute, MB: {', '.join(f'{one:.0f}' for one in medians)}", flush=True)
    if loads != minutes:
        sys.exit(f"{minutes} versions were put there, and {loads:.0f} loaded")
    return [
        {"name": "soak_errors", "value": found["errors"], "runs": 1},
        {"name": "soak_memory_change", "value": round(change, 4), "runs": 1},
    ]


def compared(name: str, value: float, rounds: int) -> dict[str, Any]:
    version = "from importlib.metadata import version as v; print(v('kserve'), v('torch'), v('transformers'))"
    found = subprocess.run([str(PEERS), "-c", version], check=True, capture_output=True, text=True).stdout.split()
    return {"name": name, "value": round(value, 4), "peer": PEER, "peer_version": " / ".join(found), "runs": rounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of each comparison")
    parser.add_argument("--seconds", type=float, default=10, help="how long each server is asked in a round")
    parser.add_argument("--threads", type=int, default=2, help="threads of each model")
    parser.add_argument("--soak", type=int, default=0, metavar="MINUTES", help="also ask ours so long, with swaps")
    arguments = parser.parse_args()
    if not PEERS.exists():
        sys.exit(f"no peers at {PEERS.parent.parent}: make peers")

    from benchmarks.serving import film_lines, processor

    threads, rounds, seconds = arguments.threads, arguments.rounds, arguments.seconds
    texts = film_lines(400)
    with tempfile.TemporaryDirectory() as scratch:
        bundle, lines = written_bundle(Path(scratch) / "bundle"), Path(scratch) / "texts.json"
        lines.write_text(json.dumps(texts))
        load = Load(lines)
        results = compare_sizes()
        results += compare_starts(bundle, threads, rounds)
        results += compare_rates(load, bundle, threads, rounds, seconds)
        results += overhead(load, texts, bundle, threads, rounds, seconds)
        if arguments.soak:
            results += soak(load, bundle, Path(scratch) / "versions", threads, arguments.soak)
        load.close()
    environment = {
        "cpus": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "processor": processor(),
        "load": os.getloadavg()[0],
    }
    print(json.dumps({"benchmark": "server", "environment": environment, "results": results}))


if __name__ == "__main__":
    main()
