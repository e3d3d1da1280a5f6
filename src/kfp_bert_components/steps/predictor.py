"""The model that answers the texts of a table, wherever it lies."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from kfp_bert_components.bert import Bundle, read_bundle
from kfp_bert_components.bert.bundle import BUNDLE_JSON, TENSORFLOW
from kfp_bert_components.bert.onnx_model import METADATA, OnnxModel, has_onnx
from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.prediction import Predictor
from kfp_bert_components.registry import Registry
from kfp_bert_components.serving.versions import version_names
from kfp_bert_components.storage import Address, download_folder, is_folder, is_there, open_store, parse_address

_IN_VERSION = METADATA[1]
_GRAPH = "saved_model.pb"


def find_model(model: str, scratch: Path) -> tuple[Path, int]:
    """The folder of a model on this machine, and the registry's version of it, 0 where that is not known.

    Args:
        model: A registry (its champion) or the folder of one of its versions, such as gs://bucket/registry/versions/3;
            a bundle; a folder of served versions or of bundles with numbers for names (the newest) or one of these.
            Local, gs:// or s3://.
        scratch: A folder for what has to be copied; it must stay while the model is used.

    Returns:
        The folder of a bundle or of a served version.

    Raises:
        NotFoundError: There is nothing there.
        UserError: It is no address, or what is there is no model, or damaged; or the registry has no champion.
    """
    address = parse_address(model, "the model")
    if address.is_local and not is_folder(address.path):
        there = "is a file" if is_there(address.path) else "does not exist"
        raise NotFoundError(f"The model {address} {there}: give a registry, a bundle, or a folder of served versions.")
    store = open_store(address)
    if store.exists("champion.json") or store.exists("registry.json"):
        return _of_registry(store.uri, Registry(store.uri).require_champion().version, scratch)
    if store.exists("version.json"):
        versions, number = address.split()
        registry, folder = versions.split()
        if folder != "versions" or number not in map(str, Registry(str(registry)).numbers()):
            raise UserError(
                f"{store.uri} is a version of a registry, but does not lie in the folder versions of one, under its "
                f"number: give the registry, or the bundle in it, {store.describe('bundle')}."
            )
        return _of_registry(str(registry), int(number), scratch)
    if store.exists(BUNDLE_JSON) or store.exists(_IN_VERSION):
        return _at_hand(address, scratch), 0
    # A bundle is known by its record, a served version by the file that a deployment writes last.
    for _, name in sorted(version_names(store.folders()).items(), reverse=True):
        if any(store.exists(f"{name}/{file}") for file in (_GRAPH, f"saved_model/{_GRAPH}", BUNDLE_JSON)):
            return _at_hand(address / name, scratch), 0
    raise UserError(
        f"{store.uri} holds no model: expected a registry (champion.json), a bundle ({BUNDLE_JSON}), or versions in "
        f"folders with numbers for names ({_IN_VERSION} in each)."
    )


def open_predictor(folder: Path, version: int, scratch: Path) -> Predictor:
    """A model from `find_model`, with ONNX Runtime where it holds model.onnx, else with TensorFlow."""
    if has_onnx(folder):
        model = OnnxModel(folder, spinning=False)  # a pod's processor time is limited
        predict, metadata = model.predict, model.metadata
    else:
        bundle = as_bundle(folder, scratch)
        predict, metadata = partial(bundle.predict, engine=TENSORFLOW), bundle.metadata
    version = version or int(metadata.get("registry_version") or 0)
    return Predictor(predict, list(metadata["labels"]), bool(metadata["pair"]), str(metadata["fingerprint"]), version)


def as_bundle(folder: Path, scratch: Path) -> Bundle:
    """A model from `find_model` as a bundle. A served version, a SavedModel with its metadata inside, is linked to."""
    if (folder / BUNDLE_JSON).is_file():
        return read_bundle(folder)
    if not (folder / _IN_VERSION).is_file():
        raise UserError(f"{folder} holds no {_IN_VERSION}, so its labels are not known: deploy the model again.")
    made = scratch / "as_bundle"
    made.mkdir()
    (made / BUNDLE_JSON).write_bytes((folder / _IN_VERSION).read_bytes())
    (made / "saved_model").symlink_to(folder.absolute(), target_is_directory=True)
    return read_bundle(made)


def _of_registry(registry: str, version: int, scratch: Path) -> tuple[Path, int]:
    """A version of a registry, each file of it checked."""
    Registry(registry).fetch_bundle(version, scratch / "bundle")
    return scratch / "bundle", version


def _at_hand(address: Address, scratch: Path) -> Path:
    """The folder on this machine."""
    if address.is_local:
        return address.path
    parent, name = address.split()
    download_folder(open_store(parent), name, scratch / "model")
    return scratch / "model"
