"""Where a checkpoint comes from: a local folder, Cloud Storage, or the Hugging Face hub."""

import re
from pathlib import Path

from kfp_bert_components.bert.checkpoint_files import INDEX, refuse_pointer
from kfp_bert_components.errors import UserError

# The files of a checkpoint that are read, beside its safetensors files.
_WANTED = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    INDEX,
)


def checkpoint_folder(base_model: str, scratch: Path) -> Path:
    """A local folder with the files of a checkpoint.

    Args:
        base_model: Hub id ("google-bert/bert-base-uncased"), `gs://` folder, or local folder; of a model
            bundle its huggingface/ folder is taken.
        scratch: Empty folder to download into.

    Raises:
        UserError: There is no such folder or hub id, it can't be downloaded, or a file in it is a Git LFS pointer.
    """
    folder = _folder(base_model, scratch)
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if _wanted(path.name):
            refuse_pointer(path)
    return folder


def _folder(base_model: str, scratch: Path) -> Path:
    if base_model.startswith("gs://"):
        return _inside(_from_store(base_model, scratch))
    folder = Path(base_model.removeprefix("file://"))
    if folder.is_dir():
        return _inside(folder)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", base_model) or base_model.startswith("."):
        raise UserError(f"base_model {base_model!r} is no folder: give a folder, a gs:// path or a hub id")
    return _from_hub(base_model)


def _inside(folder: Path) -> Path:
    return folder / "huggingface" if (folder / "bundle.json").exists() else folder


def _wanted(name: str) -> bool:
    return name in _WANTED or name.endswith(".safetensors")


def _from_store(uri: str, scratch: Path) -> Path:
    from kfp_bert_components.storage import open_store

    store = open_store(uri)
    entries = store.list()
    bundle = any(entry.name == "bundle.json" for entry in entries)
    prefix = "huggingface/" if bundle else ""
    names = [entry.name for entry in entries if entry.name.startswith(prefix)]
    if f"{prefix}config.json" not in names:
        raise UserError(f"{uri} holds no config.json: give the folder of a Hugging Face checkpoint")
    for name in names:
        plain = name.removeprefix(prefix)
        if _wanted(plain):
            store.download(name, scratch / plain)
        elif "/" not in plain and plain.endswith((".bin", ".h5", ".msgpack", ".pt")):
            (scratch / plain).touch()  # pickled weights are never read: the error about them needs their name alone
    return scratch


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[*_WANTED, "*.safetensors"]))
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"base_model {name!r} is no local folder and could not be had from the Hugging Face hub "
            f"({reason}): check the name and the network, or give a folder or gs:// path with its files"
        ) from error
