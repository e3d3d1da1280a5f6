"""Checkpoints of a run: one file each, complete before it is visible, in a local or gs:// folder.

A file holds arrays, numbered in the order of the variables: `weights/0`, `weights/1` and so on of the network,
`others/...` of the optimizer, `best/...` of the network when it was best. `curve` is that of `RunState`, float64
[steps, 5]. The rest of the run's state is JSON in the file's metadata.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.records import load_record
from kfp_bert_components.training.state import Best, RunState

FORMAT = 1
_REMEDY = "remove it, or go on with the version that wrote it"


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
    """The checkpoints of one run, in a folder of its own named after its data and settings.

    Another run with other data or settings in the same `checkpoint_dir` neither sees nor disturbs them.

    Args:
        checkpoint_dir: Local or gs:// folder; "" writes and finds no checkpoints.
        identity: What must be the same for a run to go on, as plain JSON values: settings, data, vocabulary.
        minutes: Minutes between two checkpoints.
        steps: Steps between two checkpoints; 0 goes by time alone.
    """

    def __init__(self, checkpoint_dir: str, identity: dict[str, Any], *, minutes: float, steps: int) -> None:
        from kfp_bert_components.storage import open_store, parse_address

        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        self._store = open_store(parse_address(checkpoint_dir, "checkpoint_dir") / digest) if checkpoint_dir else None
        self._seconds, self._steps = minutes * 60, steps
        self._last = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether it is time for a checkpoint after this step."""
        if self._store is None:
            return False
        if self._steps and step % self._steps == 0:
            return True
        return time.monotonic() - self._last >= self._seconds

    def save(self, state: RunState, weights: Sequence[Any], moments: Sequence[Any]) -> None:
        """Write a checkpoint and remove the older ones.

        Args:
            state: Progress of the run.
            weights: Variables of the network.
            moments: Variables of the optimizer.
        """
        if self._store is None:
            return
        from safetensors.numpy import save_file

        arrays = {f"weights/{i}": _array(variable) for i, variable in enumerate(weights)}
        arrays |= {f"others/{i}": _array(variable) for i, variable in enumerate(moments)}
        if state.best is not None:
            arrays |= {f"best/{i}": np.array(value, order="C") for i, value in enumerate(state.best.weights)}
        arrays["curve"] = np.array(state.curve, np.float64).reshape(-1, 5)
        metadata = {"format": str(FORMAT), "state": json.dumps(_plain(state))}
        name = f"{state.trial:04d}-{state.step:09d}.safetensors"
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / name
            save_file(arrays, path, metadata=metadata)
            self._store.upload(path, name)
        for entry in self._store.list():
            if entry.name < name:
                self._store.delete(entry.name)
        self._last = time.monotonic()

    def restore(self) -> Checkpoint | None:
        """The newest checkpoint, or None where there is none.

        Raises:
            UserError: It is damaged, or of a format that this version does not know.
        """
        if self._store is None:
            return None
        names = [entry.name for entry in self._store.list() if entry.name.endswith(".safetensors")]
        return self._read(max(names)) if names else None

    def remove(self) -> None:
        """Remove all checkpoints of this run, which is over."""
        if self._store is None:
            return
        for entry in self._store.list():
            try:
                self._store.delete(entry.name)
            except NotFoundError:
                continue

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


def _array(variable: Any) -> np.ndarray:
    return np.array(variable.numpy(), order="C")  # keeps a scalar a scalar
