"""Puts requests together that arrived while the model worked, so that it answers more of them at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from kfp_bert_components.serving.engines import Answers, Engine, Instance

if TYPE_CHECKING:
    import numpy as np

# In one call, unless one text has more: more are hardly faster per text, and hold others up.
CALL_TOKENS = 512
BYTES_PER_TOKEN = 4
CLASSES = (16, 32, 64, 128, 256)  # of length, in tokens; one call holds texts of one class


class BusyError(Exception):
    """Too much is waiting; `seconds` is about how long that will take."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The server is busy: what waits takes about {seconds:.0f} s. Send the request again later.")
        self.seconds = seconds


class Batcher:
    """One thread that calls the model with what waits, texts of similar length together.

    No request waits for others to come. Of those that wait, the one is first that would be answered first if each were
    alone: a request with many or long texts holds up none that is short.

    Args:
        wait_seconds: A request is refused while what waits takes longer than this. The first one never is, whatever
            its size, and does not count for those that are answered before it.
        observe: Called after each call of the model with its seconds and the number of its instances.
    """

    def __init__(
        self, wait_seconds: float = 30.0, observe: Callable[[float, int], object] = lambda seconds, instances: None
    ) -> None:
        self._wait_seconds, self.observe = wait_seconds, observe
        self._changed = threading.Condition()
        self._waiting: list[_Request] = []
        self._spent = (0.0, 0.0)  # seconds and tokens of the last calls
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)

    def start(self) -> None:
        """Start the thread. It ends with the process, or after `stop`."""
        self._thread.start()

    def stop(self) -> bool:
        """End the thread after the call of the model that it is in.

        Returns:
            Whether it has ended within 5 seconds.
        """
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(timeout=5)
        return not self._thread.is_alive()

    def waiting(self) -> int:
        """How many instances have not been given to the model yet."""
        return sum(len(request.left) for request in list(self._waiting))

    def submit(self, engine: Engine, instances: Sequence[Instance]) -> asyncio.Future[Answers]:
        """The model's answers, which come later; where the future is cancelled before, the model is not asked.

        Raises:
            BusyError: Too much is waiting.
        """
        request = _Request(engine, instances)
        with self._changed:
            seconds_per_token = self._seconds_per_token
            due = request.due(seconds_per_token)
            request.is_first = not any(one.left for one in self._waiting)
            # The first may be of any size, and must not keep those away that are answered before it.
            counted = [one for one in self._waiting if one.due(seconds_per_token) < due or not one.is_first]
            seconds = sum(one.tokens for one in counted) * seconds_per_token
            if seconds and seconds + request.tokens * seconds_per_token > self._wait_seconds:
                raise BusyError(seconds)
            self._waiting.append(request)
            self._changed.notify()
        return request.answers

    @property
    def _seconds_per_token(self) -> float:
        """By the last calls; 0 before the first one."""
        seconds, tokens = self._spent
        return seconds / tokens if tokens else 0.0

    def _work(self) -> None:
        while call := self._next_call():
            self._answer(call)
            del call  # or it would keep the model's memory until the next request

    def _next_call(self) -> list[tuple[_Request, list[int]]]:
        """What the model is asked next: requests, each with the places of its instances. Empty once stopped."""
        with self._changed:
            while True:
                self._waiting = [one for one in self._waiting if one.left and not one.answers.done()]
                if self._stopped:
                    return []
                if self._waiting:
                    return self._choose()
                self._changed.wait()

    def _choose(self) -> list[tuple[_Request, list[int]]]:
        seconds_per_token = self._seconds_per_token
        requests = sorted(self._waiting, key=lambda one: one.due(seconds_per_token))
        first, call, tokens = requests[0], [], 0
        length = first.next_class
        for request in requests:
            places: list[int] = []
            while request.engine is first.engine and request.left and request.next_class == length:
                size = request.sizes[request.left[-1]]
                if tokens and tokens + size > CALL_TOKENS:
                    break
                places.append(request.left.pop())
                tokens += size
            if places:
                call.append((request, places))
        return call

    def _answer(self, call: list[tuple[_Request, list[int]]]) -> None:
        engine, started = call[0][0].engine, time.monotonic()
        instances = [request.instances[place] for request, places in call for place in places]
        try:
            answers = engine.answer(instances)
            shape = (len(answers.labels), *answers.probabilities.shape[:-1])
            if shape != (len(instances), len(instances)):  # it would end this thread below
                raise ValueError(f"the model gave answers of the shape {shape} to {len(instances)} texts")
        except Exception as error:
            if len(call) == 1:
                call[0][0].fail(error)
            else:  # one of the requests may be the reason: the others are answered
                for one in call:
                    self._answer([one])
            return
        seconds, tokens = time.monotonic() - started, sum(request.sizes[i] for request, places in call for i in places)
        self._spent = (0.9 * self._spent[0] + seconds, 0.9 * self._spent[1] + tokens)
        self.observe(seconds, len(instances))
        start = 0
        for request, places in call:
            request.take(places, answers, start)
            start += len(places)


class _Request:
    """Instances that wait for the model, and their answers. `left` are the places of those without, shortest last."""

    is_first = False  # nothing waited when it came

    def __init__(self, engine: Engine, instances: Sequence[Instance]) -> None:
        self.engine, self.instances = engine, instances
        self.sizes = [_size(instance, engine.max_length) for instance in instances]
        self.left = sorted(range(len(instances)), key=self.sizes.__getitem__, reverse=True)
        self._came, self._tokens = time.monotonic(), sum(self.sizes)
        self._loop = asyncio.get_running_loop()
        self.answers: asyncio.Future[Answers] = self._loop.create_future()
        self._labels = [""] * len(instances)
        self._probabilities: np.ndarray | None = None
        self._missing = len(instances)

    def due(self, seconds_per_token: float) -> float:
        """When it would be answered if it were alone, in seconds of `time.monotonic`."""
        return self._came + self._tokens * seconds_per_token

    @property
    def tokens(self) -> int:
        """About how many tokens wait."""
        return sum(self.sizes[place] for place in self.left)

    @property
    def next_class(self) -> int:
        return bisect_left(CLASSES, self.sizes[self.left[-1]])

    def take(self, places: list[int], answers: Answers, start: int) -> None:
        """Keep the answers from `start` on, which belong to these places; all of them are handed out together."""
        import numpy as np

        end = start + len(places)
        if self._probabilities is None:
            self._probabilities = np.empty((len(self.instances), answers.probabilities.shape[1]), np.float32)
        self._probabilities[places] = answers.probabilities[start:end]
        for place, label in zip(places, answers.labels[start:end], strict=True):
            self._labels[place] = label
        self._missing -= len(places)
        if not self._missing:
            whole = Answers(self._labels, self._probabilities)
            self._finish(lambda: self.answers.set_result(whole))

    def fail(self, error: Exception) -> None:
        self.left = []
        self._finish(lambda: self.answers.set_exception(error))

    def _finish(self, action: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(lambda: None if self.answers.done() else action())


def _size(instance: Instance, max_length: int) -> int:
    """About how many tokens an instance has: it need not be exact, it sorts short from long.

    What is cut off counts too, a hundredth: the tokenizer reads all of it.
    """
    tokens = 2 + sum(len(text.encode()) for text in instance.values()) // BYTES_PER_TOKEN
    return min(tokens, max_length) + max(tokens - max_length, 0) // 100
