"""Sends texts to a server and times its answers: the load of benchmarks/server.py.

Runs in the peers' environment, which has aiohttp. Its argument is a JSON file with texts; each request has one of them.
Reads one JSON object a line: "url", "seconds", and either "clients", each of which sends its next request when it has
the answer to the last one, or "rate", requests a second that are sent whether or not others are answered. Answers with
one line of JSON: "answers", "errors", "error" (the first one), "seconds", and "p50" and "p99" in seconds.
"""

import asyncio
import itertools
import json
import sys
import time
from pathlib import Path
from statistics import quantiles

import aiohttp

MOST_CONNECTIONS = 256


class Load:
    """Requests to one address, and what came of them."""

    def __init__(self, session: aiohttp.ClientSession, url: str, bodies: list[bytes]):
        self._session, self._url, self._bodies = session, url, itertools.cycle(bodies)
        self.times: list[float] = []
        self.errors: list[str] = []

    async def ask(self) -> None:
        start = time.perf_counter()
        try:
            async with self._session.post(self._url, data=next(self._bodies)) as response:
                body = await response.read()
            if response.status != 200:
                self.errors.append(f"{response.status}: {body[:200].decode('utf-8', 'replace')}")
                return
        except (aiohttp.ClientError, TimeoutError) as error:
            self.errors.append(repr(error))
            return
        self.times.append(time.perf_counter() - start)

    async def of_clients(self, clients: int, seconds: float) -> None:
        end = time.perf_counter() + seconds

        async def client() -> None:
            while time.perf_counter() < end:
                await self.ask()

        await asyncio.gather(*(client() for _ in range(clients)))

    async def of_rate(self, rate: float, seconds: float) -> None:
        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
                group.create_task(self.ask())


async def run(request: dict, bodies: list[bytes]) -> dict:
    connector = aiohttp.TCPConnector(limit=request.get("clients", MOST_CONNECTIONS))
    async with aiohttp.ClientSession(connector=connector, headers={"Content-Type": "application/json"}) as session:
        load, start = Load(session, request["url"], bodies), time.perf_counter()
        if "rate" in request:
            await load.of_rate(request["rate"], request["seconds"])
        else:
            await load.of_clients(request["clients"], request["seconds"])
        seconds = time.perf_counter() - start
    percentiles = quantiles(load.times, n=100) if len(load.times) > 1 else [float("nan")] * 99
    return {
        "answers": len(load.times),
        "errors": len(load.errors),
        "error": next(iter(load.errors), ""),
        "seconds": seconds,
        "p50": percentiles[49],
        "p99": percentiles[98],
    }


def main() -> None:
    texts = json.loads(Path(sys.argv[1]).read_text())
    bodies = [json.dumps({"instances": [text]}).encode() for text in texts]
    for line in sys.stdin:
        print(json.dumps(asyncio.run(run(json.loads(line), bodies))), flush=True)


if __name__ == "__main__":
    main()
