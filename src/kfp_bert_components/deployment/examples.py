"""The texts that a new version is asked for, and the answers that it gave when it was examined."""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_bert_components.deployment.smoke import Example
from kfp_bert_components.errors import NotFoundError, UserError

if TYPE_CHECKING:
    from kfp_bert_components.registry import Registry

MOST = 200


@dataclass(frozen=True)
class Examples:
    """Texts with their expected answers, and the labels in the order of the probabilities."""

    rows: list[Example]
    labels: list[str]


def load_examples(registry: Registry, version: int) -> Examples:
    """Texts of the test split that the version was examined on, with the answers that it gave.

    Both lie in the evaluation that was stored with the version. It was made through the SavedModel's serving
    signature, so these are the answers that the bundle gives, and no TensorFlow is needed to know them.

    Args:
        registry: Holds the version.
        version: The version that is rolled out.

    Returns:
        At most 200 examples, the same ones each time.

    Raises:
        UserError: The version was stored without its evaluation.
    """
    from kfp_bert_components.evaluation import read_evaluation
    from kfp_bert_components.storage import download_folder

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            download_folder(registry.store, f"versions/{version}/evaluation", folder)
            evaluation = read_evaluation(folder)
        except NotFoundError as error:
            raise UserError(f"Version {version} cannot be tested without its evaluation: {error}") from error
    table = evaluation.predictions
    if table is None or "text" not in table.column_names:
        raise UserError(f"The evaluation of version {version} holds no texts to test it with.")
    names = [name for name in ("text", "text_pair") if name in table.column_names]
    if _pair(registry, version) and "text_pair" not in names:
        raise UserError(f"The evaluation of version {version} lacks the second texts to test it with.")
    rows = table.select([*names, "probabilities"]).to_pylist()
    chosen = random.Random(0).sample(rows, min(MOST, len(rows)))
    examples = [Example({name: row[name] for name in names}, tuple(row["probabilities"])) for row in chosen]
    return Examples(examples, evaluation.labels)


def _pair(registry: Registry, version: int) -> bool:
    bundle = json.loads(registry.store.read(f"versions/{version}/bundle/bundle.json").data)
    return bool(bundle.get("pair"))
