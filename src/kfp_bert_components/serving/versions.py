"""The versions of a model in its folder, and which one is the newest."""

from dataclasses import dataclass
from pathlib import Path

from kfp_bert_components.errors import NotFoundError, UserError

GRAPH = "saved_model.pb"


@dataclass(frozen=True)
class ModelVersion:
    """A SavedModel that can be loaded.

    Attributes:
        folder: The folder that holds `saved_model.pb`.
        number: Name of the version's folder; 1 for a model without versions.
    """

    folder: Path
    number: int


def newest_version(path: Path) -> ModelVersion | None:
    """The newest complete version of the model at `path`, or None in a folder that holds no version yet.

    Args:
        path: A model bundle, a SavedModel folder, or a folder with one SavedModel per version number.

    Raises:
        NotFoundError: There is nothing at `path`.
        UserError: What lies there is none of the three.
    """
    if not path.exists():
        raise NotFoundError(
            f"{path} does not exist: give a model bundle, a SavedModel folder, or a folder of versions."
        )
    if (path / "saved_model" / GRAPH).is_file():
        return ModelVersion(path / "saved_model", 1)
    if (path / GRAPH).is_file():
        return ModelVersion(path, 1)
    if not path.is_dir() or (any(path.iterdir()) and not _is_versioned(path)):
        raise UserError(
            f"{path} holds no model: expected a bundle (saved_model/saved_model.pb), a SavedModel "
            "(saved_model.pb), or version folders with numbers for names."
        )
    # A version is complete once its saved_model.pb is there, which is why a deployment writes that file last.
    folders = [entry for entry in path.iterdir() if entry.name.isdigit()]
    complete = [int(folder.name) for folder in folders if (folder / GRAPH).is_file()]
    return ModelVersion(path / str(max(complete)), max(complete)) if complete else None


def _is_versioned(path: Path) -> bool:
    return all(entry.name.isdigit() or entry.name.startswith((".", "_")) for entry in path.iterdir())
