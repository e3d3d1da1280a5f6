"""The texts that a new version is asked for, and the answers that it gave when it was examined."""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components.deployment.rollout import say
from kfp_bert_components.deployment.smoke import Example
from kfp_bert_components.errors import NotFoundError

if TYPE_CHECKING:
    from kfp_bert_components.registry import Registry

MOST = 200


@dataclass(frozen=True)
class Examples:
    """Texts with their expected answers, and the labels in the order of the probabilities."""

    rows: list[Example]
    labels: list[str]


def load_examples(registry: Registry, version: int, test: Path) -> Examples:
    """Texts of the test split with the probabilities that the version's evaluation holds for them.

    The evaluation was made through the SavedModel's serving signature, so these are the answers that the
    bundle gives. Where it was made on another test split, the answers are computed from the bundle, which
    needs TensorFlow; without that only their form can be checked, and a line says so.

    Args:
        registry: Holds the version.
        version: The version that is rolled out.
        test: Folder of a test split.

    Returns:
        At most 200 examples, the same ones each time.
    """
    from kfp_bert_components.data import read_split

    split = read_split(test)
    columns = [name for name in ("text", "text_pair") if name in split.table.column_names]
    rows = split.table.select(["id", *columns]).to_pylist()
    known = _examined(registry, version)
    answered = [row for row in rows if row["id"] in known]
    chosen = random.Random(0).sample(answered or rows, min(MOST, len(answered or rows)))
    instances = [{name: row[name] for name in columns} for row in chosen]
    if answered:
        expected: list[Any] = [known[row["id"]] for row in chosen]
    else:
        expected = _computed(registry, version, instances)
    return Examples(
        [Example(one, answer) for one, answer in zip(instances, expected, strict=True)], split.labels
    )


def _examined(registry: Registry, version: int) -> dict[str, tuple[float, ...]]:
    """Probabilities by id, from the evaluation that was stored with the version."""
    from kfp_bert_components.evaluation import read_evaluation
    from kfp_bert_components.storage import download_folder

    with tempfile.TemporaryDirectory() as scratch:
        try:
            download_folder(registry.store, f"versions/{version}/evaluation", Path(scratch))
            table = read_evaluation(Path(scratch)).predictions
        except NotFoundError:
            return {}
    names = [name for name in table.column_names if name.startswith("p_")]
    values = [table.column(name).to_pylist() for name in sorted(names, key=lambda name: int(name[2:]))]
    lists = list(zip(*values, strict=True)) if names else table.column("probabilities").to_pylist()
    return {key: tuple(row) for key, row in zip(table.column("id").to_pylist(), lists, strict=True)}


def _computed(registry: Registry, version: int, instances: list[dict[str, str]]) -> list[Any]:
    try:
        import tensorflow  # noqa: F401
    except ImportError:
        say("no text of the test split was examined: only the form of the answers is checked")
        return [None] * len(instances)
    from kfp_bert_components.bert import read_bundle

    with tempfile.TemporaryDirectory() as scratch:
        registry.fetch_bundle(version, Path(scratch) / "bundle")
        bundle = read_bundle(Path(scratch) / "bundle")
        pairs = [one["text_pair"] for one in instances] if "text_pair" in instances[0] else None
        return [tuple(map(float, row)) for row in bundle.predict([one["text"] for one in instances], pairs)]
