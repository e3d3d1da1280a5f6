"""The requests of a smoke test: texts that a version was evaluated on, with the answers that it gave."""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_bert_components.bert import read_bundle
from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.progress import say

if TYPE_CHECKING:
    from kfp_bert_components.bert import Bundle
    from kfp_bert_components.evaluation import Evaluation
    from kfp_bert_components.registry import Registry

MAX_REQUESTS = 200
# What a version is asked whose evaluation keeps no texts.
FIXED_TEXTS = ("yes", "No.", "WHAT IS THIS?", "A short sentence.", "12:30, 24 May", "한국어 문장입니다.", 200 * "word ")


@dataclass(frozen=True)
class SmokeRequest:
    """One request, and the answer to expect.

    Attributes:
        instance: {"text": ...}, and "text_pair" for a model of pairs.
        expected: The probabilities in the version's evaluation, in the order of the labels; none where the
            evaluation keeps no texts, so that the right answer is not known.
    """

    instance: dict[str, str]
    expected: tuple[float, ...]


@dataclass(frozen=True)
class SmokeRequests:
    """The requests of one version.

    Attributes:
        rows: The requests.
        labels: The labels in the order of the probabilities.
    """

    rows: list[SmokeRequest]
    labels: list[str]


def load_smoke_requests(registry: Registry, version: int) -> SmokeRequests:
    """Rows of the test split of a version's evaluation, with the answers that the version gave.

    The evaluation was made by the engine that our server takes, from raw text, so a server of the same bundle must give
    the same answers. No engine is needed to know them.

    Args:
        registry: Where the version is stored, with its evaluation.
        version: The registry's version that is rolled out.

    Returns:
        At most 200 rows, chosen at random, the same ones each time. Where the evaluation keeps no texts (keep_texts
        is ids), a few fixed texts without expected answers; a line says so.

    Raises:
        UserError: The version was stored without its evaluation, or the evaluation without its predictions.
    """
    evaluation = read_stored_evaluation(registry, version)
    table = evaluation.predictions
    if table is None:
        raise UserError(f"The evaluation of version {version} holds no texts to test it with.")
    pairs = _takes_pairs(registry, version)
    if "text" not in table.column_names:
        say(
            f"The evaluation of version {version} keeps no texts (keep_texts is ids): it is asked {len(FIXED_TEXTS)} "
            "fixed texts, and only the form of its answers is looked at, not whether they are those of its evaluation."
        )
        texts = ({"text": text, "text_pair": text} if pairs else {"text": text} for text in FIXED_TEXTS)
        return SmokeRequests([SmokeRequest(instance, ()) for instance in texts], evaluation.labels)
    names = [name for name in ("text", "text_pair") if name in table.column_names]
    if pairs and "text_pair" not in names:
        raise UserError(f"The evaluation of version {version} lacks the second texts to test it with.")
    rows = table.select([*names, "probabilities"]).to_pylist()
    chosen = random.Random(0).sample(rows, min(MAX_REQUESTS, len(rows)))
    requests = [SmokeRequest({name: row[name] for name in names}, tuple(row["probabilities"])) for row in chosen]
    return SmokeRequests(requests, evaluation.labels)


def _takes_pairs(registry: Registry, version: int) -> bool:
    return bool(read_stored_bundle(registry, version).metadata.get("pair"))


def read_stored_evaluation(registry: Registry, version: int) -> Evaluation:
    """The evaluation that a version was promoted with; UserError where there is none."""
    from kfp_bert_components.evaluation import read_evaluation
    from kfp_bert_components.storage import download_folder

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            download_folder(registry.store, f"versions/{version}/evaluation", folder)
            return read_evaluation(folder)
        except NotFoundError as error:
            raise UserError(f"Version {version} cannot be tested without its evaluation: {error}") from error


def read_stored_bundle(registry: Registry, version: int) -> Bundle:
    """What is known of a version's bundle, without its model."""
    with tempfile.TemporaryDirectory() as scratch:
        data = registry.store.read(f"versions/{version}/bundle/bundle.json").data
        Path(scratch, "bundle.json").write_bytes(data)
        return read_bundle(Path(scratch))
