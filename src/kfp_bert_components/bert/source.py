"""Where a checkpoint comes from: a local folder, Cloud Storage, or the Hugging Face hub."""

import re
from pathlib import Path

from kfp_bert_components.bert.checkpoint_files import INDEX, refuse_pointer
from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.fetch import Pinned, fingerprint
from kfp_bert_components.storage import Address, Entry, Store, is_folder, is_there, open_store, parse_address

_HUB_ID = re.compile(r"(?!\.)[\w.-]+(/[\w.-]+)?")
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


def checkpoint_folder(base_model: str, scratch: Path, pin: str = "") -> Path:
    """A local folder with the files of a checkpoint.

    Args:
        base_model: Hub id ("google-bert/bert-base-uncased"), `gs://` or `s3://` folder, or local folder; of a model
            bundle its huggingface/ folder is taken.
        scratch: Empty folder to download into.
        pin: What its files must be, as `pin_checkpoint` saw it; "" where that is not known.

    Raises:
        ConflictError: Its files are others.
        UserError: There is no such folder or hub id, it can't be downloaded, or a file in it is a Git LFS pointer.
    """
    folder = _folder(base_model, scratch, pin)
    for path in sorted(folder.iterdir()) if is_folder(folder) else []:
        if _wanted(path.name):
            refuse_pointer(path)
    return folder


def _folder(base_model: str, scratch: Path, pin: str) -> Path:
    address = checkpoint_address(base_model)
    if address is None:
        return _from_hub(base_model)
    if not address.is_local:
        return _inside(_from_store(base_model, address, scratch, pin))
    if not is_folder(address.path):
        raise UserError(f"base_model {base_model!r} is no folder: give a folder, a gs:// or s3:// path, or a hub id")
    check_pin(base_model, pin)
    return _inside(address.path)


def pin_checkpoint(base_model: str) -> str:
    """What the files of a checkpoint are now, found out without reading them.

    Returns:
        Two fingerprints in one word, 64 letters: the first half is of names, sizes and checksums, or on a disk times of
        modification; the second one is of all by which a change can be seen. "" for a hub id, which is not looked at.

    Raises:
        UserError: There is no such folder.
    """
    address = checkpoint_address(base_model)
    if address is None:
        return ""
    if address.is_local and not is_folder(address.path):
        raise UserError(f"base_model {base_model!r} is no folder: give a folder, a gs:// or s3:// path, or a hub id")
    if address.is_local:
        files = _files_on_disk(address.path)
    else:
        store = open_store(address)
        files = _pinned(store, store.list())
    if not files:
        raise UserError(f"{address} holds no config.json: give the folder of a Hugging Face checkpoint")
    return fingerprint(files, changes=False)[:32] + fingerprint(files)[:32]


def check_pin(base_model: str, pin: str) -> None:
    """Raise a ConflictError where a checkpoint's files are not those that `pin_checkpoint` saw; "" is no pin."""
    if pin and pin_checkpoint(base_model)[:32] != pin[:32]:
        raise _changed(base_model)


def _changed(base_model: str) -> ConflictError:
    return ConflictError(
        f"base_model {base_model!r} was changed since the run began: start the run again; trying this step again does "
        "not help."
    )


def _files_on_disk(folder: Path) -> list[Pinned]:
    try:
        paths = [path for path in _inside(folder).iterdir() if _wanted(path.name)]
        return [
            Pinned(str(path), path.name, path.stat().st_mtime_ns // 1000, path.stat().st_size, "") for path in paths
        ]
    except OSError as error:
        raise UserError(f"base_model {str(folder)!r} can't be read: {error.strerror or error}.") from None


def _pinned(store: Store, entries: list[Entry]) -> list[Pinned]:
    """The files of a checkpoint in a bucket, of all entries of its folder."""
    prefix = _prefix(entries)
    return [
        Pinned(store.describe(one.name), one.name, one.generation, one.size, one.crc32c)
        for one in entries
        if one.name.startswith(prefix) and _wanted(one.name.removeprefix(prefix))
    ]


def _prefix(entries: list[Entry]) -> str:
    return "huggingface/" if any(entry.name == "bundle.json" for entry in entries) else ""


def checkpoint_address(base_model: str) -> Address | None:
    """The folder that is meant, local or in a bucket; None for a hub id. A local folder wins over a hub id.

    Raises:
        UserError: It is neither an address nor a hub id.
    """
    if _HUB_ID.fullmatch(base_model) and not is_folder(Path(base_model)):
        return None
    return parse_address(base_model, "base_model")


def _inside(folder: Path) -> Path:
    return folder / "huggingface" if is_there(folder / "bundle.json") else folder


def _wanted(name: str) -> bool:
    return name in _WANTED or name.endswith(".safetensors")


def _from_store(base_model: str, address: Address, scratch: Path, pin: str) -> Path:
    store = open_store(address)
    entries = store.list(checksums=bool(pin))
    if pin and fingerprint(_pinned(store, entries), changes=False)[:32] != pin[:32]:
        raise _changed(base_model)
    prefix = _prefix(entries)
    entries = [entry for entry in entries if entry.name.startswith(prefix)]
    if f"{prefix}config.json" not in [entry.name for entry in entries]:
        raise UserError(f"{store.uri} holds no config.json: give the folder of a Hugging Face checkpoint")
    for entry in entries:
        plain = entry.name.removeprefix(prefix)
        if _wanted(plain):
            try:
                store.download_entry(entry, scratch / plain)
            except NotFoundError:
                raise _changed(base_model) from None
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
            f"({reason}): check the name and the network, or give a folder, or a gs:// or s3:// path, with its files"
        ) from error
