"""Checkpoints of a run: one file each, complete before it is visible, in a local or gs:// folder."""

import hashlib
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.training.state import Best, RunState

FORMAT = 1


class Checkpoints:
    """The checkpoints of one run, in a folder of its own named after its data and settings.

    Another run with other data or settings in the same `checkpoint_dir` neither sees nor disturbs them.

    Args:
        checkpoint_dir: Local or gs:// folder; "" makes an object that keeps nothing.
        identity: What must be the same for a run to go on: settings, data, number of variables.
        minutes: Time between two checkpoints.
        steps: Steps between two checkpoints; 0 goes by time alone.
    """

    def __init__(self, checkpoint_dir: str, identity: dict[str, Any], *, minutes: float, steps: int) -> None:
        from kfp_bert_components.storage import open_store

        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        self._store = open_store(f"{checkpoint_dir.rstrip('/')}/{digest}") if checkpoint_dir else None
        self._seconds, self._steps = minutes * 60, steps
        self._last = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether it is time for a checkpoint after this step."""
        if self._store is None:
            return False
        if self._steps and step % self._steps == 0:
            return True
        return time.monotonic() - self._last >= self._seconds

    def save(self, state: RunState, weights: Sequence[Any], others: Sequence[Any]) -> None:
        """Write a checkpoint and remove the older ones.

        Args:
            state: Where the run stands.
            weights: Variables of the model.
            others: Variables of the step: moments of the optimizer.
        """
        if self._store is None:
            return
        from safetensors.numpy import save_file

        arrays = {f"weights/{i}": _array(variable) for i, variable in enumerate(weights)}
        arrays |= {f"others/{i}": _array(variable) for i, variable in enumerate(others)}
        arrays["curve"] = np.array(state.curve, np.float64).reshape(-1, 5)
        plain = {name: value for name, value in asdict_light(state).items() if name not in ("curve", "best")}
        if state.best is not None:
            arrays |= {f"best/{i}": np.array(value, order="C") for i, value in enumerate(state.best.weights)}
            plain["best"] = {"trial": state.best.trial, "step": state.best.step, "value": state.best.value}
        name = f"{state.trial:04d}-{state.step:09d}.safetensors"
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / name
            save_file(arrays, path, metadata={"format": str(FORMAT), "state": json.dumps(plain)})
            self._store.upload(path, name)
        for entry in self._store.list():
            if entry.name < name:
                self._store.delete(entry.name)
        self._last = time.monotonic()

    def restore(self) -> "Restored | None":
        """The newest checkpoint, or None where there is none."""
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

    def _read(self, name: str) -> "Restored":
        from safetensors import safe_open

        assert self._store is not None
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "checkpoint.safetensors"
            self._store.download(name, path)
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != str(FORMAT):
                    raise UserError(
                        f"The checkpoint {self._store.uri}/{name} has format "
                        f"{metadata.get('format')}, but this version reads format {FORMAT}; remove it, or go on "
                        "with the version that wrote it."
                    )
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
                return Restored(json.loads(metadata["state"]), arrays)


class Restored:
    """A checkpoint that was read: `state`, and values for the variables."""

    def __init__(self, plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        best = plain.pop("best", None)
        curve = [tuple(row) for row in arrays["curve"].tolist()]
        self.weights, self.others = _numbered(arrays, "weights"), _numbered(arrays, "others")
        self.state = RunState(**plain, curve=curve)
        if best is not None:
            self.state.best = Best(**best, weights=_numbered(arrays, "best"))


def asdict_light(state: RunState) -> dict[str, Any]:
    """The fields of a state, not copied."""
    return {name: getattr(state, name) for name in state.__dataclass_fields__}


def _numbered(arrays: dict[str, np.ndarray], group: str) -> list[np.ndarray]:
    count = sum(name.startswith(f"{group}/") for name in arrays)
    return [arrays[f"{group}/{i}"] for i in range(count)]


def _array(variable: Any) -> np.ndarray:
    return np.array(variable.numpy(), order="C")  # keeps a scalar a scalar
