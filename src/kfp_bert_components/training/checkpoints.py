"""Checkpoints of a run: one file each, complete before it is visible, in a local or gs:// folder.

They are written by a thread in the background, from a copy in this machine's memory, while training goes on.

A file holds arrays, numbered in the order of the variables: `weights/0`, `weights/1` and so on of the network,
`others/...` of the optimizer, `best/...` of the network when it was best. `curve` is that of `RunState`, float64
[steps, 5]. The rest of the run's state is JSON in the file's metadata.
"""

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.progress import say
from kfp_bert_components.records import load_record
from kfp_bert_components.training.state import Best, RunState

FORMAT = 1
_REMEDY = "remove it, or go on with the version that wrote it"
_TRIES = 5  # to read the newest one, which its owner may replace meanwhile
_NICE = 19  # of the thread that writes: where all processors are busy it gets some 1.5 % of one


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Attributes:
        state: Progress of the run.
        weights: Values of the network's variables.
        moments: Values of the optimizer's variables.
    """

    state: RunState
    weights: list[np.ndarray]
    moments: list[np.ndarray]


class Checkpoints:
    """The checkpoints of one run: in a folder named after its data and settings, and in that one after its owner.

    A run goes on from the newest checkpoint of its data and settings, whoever wrote it, and writes into the folder of
    its owner alone: two runs at once with the same data and settings don't write into each other's.

    Args:
        checkpoint_dir: Local, gs:// or s3:// folder; "" writes and finds no checkpoints.
        identity: What must be the same for a run to go on, as plain JSON values: settings, data, vocabulary.
        owner: What is the same each time that this run is started, and of no other run: where its model goes.
        minutes: At most so many minutes of training are lost by a kill: the next checkpoint is begun early enough.
            Where writing one takes longer than half of them, a kill costs up to twice that time, and a warning says so.
        steps: Steps between two checkpoints; 0 goes by time alone.
    """

    def __init__(
        self, checkpoint_dir: str, identity: dict[str, Any], owner: str, *, minutes: float, steps: int
    ) -> None:
        from kfp_bert_components.storage import open_store

        self._store = open_store(checkpoint_dir, parameter="checkpoint_dir") if checkpoint_dir else None
        self._run = f"{_digest(json.dumps(identity, sort_keys=True))}/"
        self._own = f"{self._run}{_digest(owner)}/"
        self._seconds, self._steps = minutes * 60, steps
        self._writer = ThreadPoolExecutor(1, "checkpoint", initializer=_step_back)
        self._writing: Future[None] | None = None
        self._took = self._seconds / 5  # seconds from the copy to the end of writing; until it is known, a guess
        self._last = time.monotonic()  # when the newest one was copied
        self._saved = (-1, -1)  # its trial and step
        self._warned = False
        self._restored = ""
        self._copies: dict[str, np.ndarray] = {}

    @property
    def writing(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._writing is not None and not self._writing.done()

    def due(self, state: RunState) -> bool:
        """Whether it is time for a checkpoint of this state; not while one is written, unless it goes by steps."""
        if self._store is None or (state.trial, state.step) == self._saved:
            return False
        if self._steps and state.step % self._steps == 0:
            return True
        if self.writing:
            return False
        return time.monotonic() - self._last >= max(self._seconds - self._took, self._seconds / 2)

    def save(self, state: RunState, weights: Sequence[Any], moments: Sequence[Any]) -> None:
        """Copy all that a checkpoint holds, and write it in the background; older ones are removed when it is whole.

        One is written at a time: this waits for the one before. Where it can't be written a warning says so.

        Args:
            state: Progress of the run.
            weights: Values of the network's variables, as arrays.
            moments: Values of the optimizer's.
        """
        if self._store is None:
            return
        self.wait()
        started = time.monotonic()
        self._copy("weights", weights)
        self._copy("others", moments)
        arrays = dict(self._copies)
        if state.best is not None:
            arrays |= {f"best/{i}": np.asarray(value, order="C") for i, value in enumerate(state.best.weights)}
        arrays["curve"] = np.array(state.curve, np.float64).reshape(-1, 5)
        metadata = {"format": str(FORMAT), "state": json.dumps(_plain(state))}
        name = f"{state.trial:04d}-{state.step:09d}.safetensors"
        self._last, self._saved = started, (state.trial, state.step)
        self._writing = self._writer.submit(self._write, name, arrays, metadata, started)

    def wait(self) -> None:
        """Wait until the checkpoint that is being written is whole."""
        if self._writing:
            self._writing.result()
            self._writing = None

    @contextlib.contextmanager
    def whole_at_the_end(self) -> Iterator[None]:
        """At the end of the block, also where SIGTERM or an error ends it, the newest checkpoint is whole."""
        try:
            yield
        finally:
            self.wait()

    def restore(self) -> Checkpoint | None:
        """The newest checkpoint, or None where there is none.

        Raises:
            UserError: It is damaged, or of a format that this version does not know.
        """
        for turn in range(_TRIES):
            names = self._names(self._run) if self._store else []
            if not names:
                return None
            self._restored = max(names, key=lambda name: (name.rpartition("/")[2], name))
            try:
                return self._read(self._restored)
            except NotFoundError:  # another run with the same data and settings has a newer one now
                if turn == _TRIES - 1:
                    raise
        return None

    def remove(self) -> None:
        """Remove the checkpoints of this run, which is over, and the one that it went on from.

        Where they can't be removed a warning says so.
        """
        self.wait()
        if self._store is not None:
            self._forget()

    def _copy(self, group: str, values: Sequence[Any]) -> None:
        """Copy arrays into the memory of the copy before: new memory takes much longer to fill."""
        for i, value in enumerate(map(np.asarray, values)):
            np.copyto(self._copies.setdefault(f"{group}/{i}", np.empty_like(value, order="C")), value)

    def _write(self, name: str, arrays: dict[str, np.ndarray], metadata: dict[str, str], started: float) -> None:
        assert self._store is not None
        from safetensors.numpy import save_file

        try:
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch) / name
                save_file(arrays, path, metadata=metadata)
                self._store.upload(path, self._own + name)
        except Exception as error:  # whatever it is, hours of training are worth more
            say(f"warning: checkpoint {name} could not be written to {self._store.uri}; training goes on: {error}")
        else:
            self._forget(before=name)
        self._took = time.monotonic() - started
        if self._seconds and not self._steps and self._took > self._seconds / 2 and not self._warned:
            self._warned = True
            say(
                f"warning: writing a checkpoint takes {self._took:.0f} s, so up to {2 * self._took:.0f} s of "
                f"training are lost if the step is killed, not {self._seconds:.0f} s as checkpoint_minutes asks: raise "
                "checkpoint_minutes, or give a faster checkpoint_dir."
            )

    def _names(self, prefix: str) -> list[str]:
        assert self._store is not None
        entries = self._store.list(prefix, checksums=False)
        return [entry.name for entry in entries if entry.name.endswith(".safetensors")]

    def _forget(self, before: str = "") -> None:
        """Remove the checkpoints of this run and the one that it went on from, or those of them `before` another."""
        assert self._store is not None
        try:
            for name in filter(None, [*self._names(self._own), self._restored]):
                if not before or Path(name).name < before:
                    with contextlib.suppress(NotFoundError):
                        self._store.delete(name)
        except Exception as error:  # as of one that another user wrote, or where nothing may be deleted
            say(f"warning: a checkpoint that is not needed any more could not be removed: {error}")

    def _read(self, name: str) -> Checkpoint:
        from safetensors import SafetensorError, safe_open

        assert self._store is not None
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "checkpoint.safetensors"
            self._store.download(name, path)
            try:
                with safe_open(path, framework="numpy") as file:
                    metadata = file.metadata() or {}
                    arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
            except SafetensorError as error:
                raise UserError(f"The checkpoint {self._store.uri}/{name} is damaged ({error}); {_REMEDY}.") from error
        # metadata holds texts alone: the number of the format and the state are JSON, each for itself
        record = f'{{"format": {metadata.get("format", "null")}, "state": {metadata.get("state", "null")}}}'
        return load_record(
            record,
            f"The checkpoint {self._store.uri}/{name}",
            {1: lambda fields: _checkpoint(fields["state"], arrays)},
            _REMEDY,
        )


def assign(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    """Give variables the values of a checkpoint.

    Raises:
        UserError: Their number or shapes differ.
    """
    if [tuple(variable.shape) for variable in variables] != [value.shape for value in values]:
        raise UserError(
            "The newest checkpoint of this run holds other weights than this version of the package trains; remove it "
            "from checkpoint_dir, or go on with the version that wrote it."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _plain(state: RunState) -> dict[str, Any]:
    """The fields of a state that are written as JSON; metrics may be NaN."""
    plain = {name: value for name, value in vars(state).items() if name not in ("curve", "best")}
    if state.best is not None:
        plain["best"] = {"trial": state.best.trial, "step": state.best.step, "value": state.best.value}
    return plain


def _checkpoint(plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> Checkpoint:
    best, fields = plain.get("best"), {name: value for name, value in plain.items() if name != "best"}
    state = RunState(**fields, curve=[tuple(row) for row in arrays["curve"].tolist()])
    if best is not None:
        state.best = Best(**best, weights=_numbered(arrays, "best"))
    return Checkpoint(state, _numbered(arrays, "weights"), _numbered(arrays, "others"))


def _numbered(arrays: dict[str, np.ndarray], group: str) -> list[np.ndarray]:
    count = sum(name.startswith(f"{group}/") for name in arrays)
    return [arrays[f"{group}/{i}"] for i in range(count)]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _step_back() -> None:
    """Let the threads that train go first. Linux has a niceness of each thread; elsewhere it is the process's."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.nice(_NICE)
