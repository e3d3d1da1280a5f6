"""Predictions on a mount where files can't be renamed: made on a disk, and copied there when they are complete."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from kfp_bert_components.prediction.one_file import write_joined
from kfp_bert_components.prediction.parts import RECORD
from kfp_bert_components.prediction.table import Predicted
from kfp_bert_components.storage import open_store


def predict_folder(predict: Callable[[str], Predicted], target: Path, scratch: Path) -> Predicted:
    """Predict into a folder, with all that `predict` says of what is there already.

    The record goes first, without parts: by it the next run knows that the copy has not ended.

    Args:
        predict: Writes parts into the folder that it is given.
        target: The folder.
        scratch: A folder on a disk.
    """
    made = scratch / "output"
    made.mkdir()
    before = _names(target)
    for name in before:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).symlink_to((target / name).absolute())
    found = predict(str(made))
    new = [name for name in _names(made) if not (made / name).is_symlink()]
    records = [name for name in new if name.endswith(RECORD)]
    target.mkdir(parents=True, exist_ok=True)
    for name in records:
        record = json.loads((made / name).read_bytes())
        (target / name).write_text(json.dumps({**record, "parts": [], "counts": {}, "complete": False}))
    for name in before:
        if not (made / name).exists():
            (target / name).unlink()
    for name in sorted(new, key=lambda name: (name in records, name)):
        shutil.copyfile(made / name, target / name)
    return found


def predict_file(predict: Callable[[str], Predicted], target: Path, scratch: Path) -> Predicted:
    """Predict into one file, as `predict_folder`.

    Args:
        predict: Writes parts into the folder that it is given.
        target: The file.
        scratch: A folder on a disk.
    """
    made, joined = scratch / "output", scratch / f"joined{target.suffix}"
    found = predict(str(made))
    write_joined(made, joined, target.suffix, found.parts)
    shutil.copyfile(joined, target)
    return found


def _names(folder: Path) -> list[str]:
    return [one.name for one in open_store(str(folder)).list(checksums=False)]
