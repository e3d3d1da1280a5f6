"""The model card: what a person reads about a version."""

import json
from pathlib import Path

import pytest
import yaml

from kfp_bert_components import __version__
from kfp_bert_components.registry import Registry
from tests.support.models import promote_next, write_candidate

CARD = """\
---
library_name: keras
pipeline_tag: text-classification
tags:
- bert
- kubeflow
base_model: "tiny"
model-index: [{{"name": "Text classifier, version 2", "results": [{{"task": {{"type": "text-classification"}}, \
"dataset": {{"type": "private", "name": "test split test"}}, \
"metrics": [{{"type": "f1", "name": "macro_f1", "value": 0.91}}]}}]}}]
---
# Text classifier, version 2

A BERT classifier of texts into 2 classes: `ham`, `spam`.

- Base model: `tiny`
- Longest input: 64 tokens; what is longer is cut
- Data fingerprint: `data of b`
- Model fingerprint: `model b`
- Registered: {at} by {by}
- Made with: kfp-bert-components {package}
- Replaces: version 1
- Why it was promoted: macro F1 is 0.05 higher.

## Evaluation

On the test split with fingerprint `test`; the interval is the one that the evaluation gives.

| metric | value | interval |
|---|---|---|
| `macro_f1` | 0.9100 | 0.8800 to 0.9400 |

## Training

| parameter | value |
|---|---|
| `epochs` | `3` |
| `learning_rate` | `5e-05` |

Libraries: tensorflow 2.21.0.
"""


def change(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_the_card_says_what_the_version_is_and_was_made_from(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    promote_next(registry, tmp_path, "a")
    promote_next(registry, tmp_path, "b")
    made = registry.version(2)
    expected = CARD.format(at=made.at, by=made.by, package=__version__)
    assert registry.card(2)[: len(expected)] == expected
    assert "- Replaces: nothing: it is the first champion\n" in registry.card(1)
    assert registry.card(2).endswith("differences between groups of people.\n")


def test_what_is_not_known_is_said_or_left_out(tmp_path: Path) -> None:
    registry, candidate = Registry(str(tmp_path / "registry")), write_candidate(tmp_path / "c")
    bundle, evaluation, decision = candidate
    change(bundle / "bundle.json", pair=True, base_model="", parameters={"b": "x|y", "a": 1})
    metrics = {"f1:spam": {"low": 0.1}, "accuracy": {"value": 1}, "mcc": {"value": 0.5, "low": 0.25}}
    change(evaluation / "evaluation.json", metrics=metrics, test_fingerprint="0123456789abcdefXYZ")
    change(decision / "decision.json", reason=" ", test_fingerprint="0123456789abcdefXYZ")
    card = registry.card(registry.promote(*candidate))
    for line in (
        "A BERT classifier of pairs of texts into 2 classes: `ham`, `spam`.",
        "- Base model: none, trained from scratch",
        "- Why it was promoted: no reason is recorded",
        "| `accuracy` | 1.0000 |  |",
        "| `mcc` | 0.5000 |  |",
    ):
        assert line in card.splitlines()
    assert card.index("| `a` | `1` |") < card.index("| `b` | `x y` |")
    assert "base_model:" not in card and "f1:spam" not in card
    assert '"name": "test split 0123456789abcdef"' in card and "fingerprint `0123456789abcdefXYZ`" in card


@pytest.mark.parametrize(
    ("base_model", "shown"),
    [("google/bert_uncased-L-2", True), ("bert-base", True), ("gs://bucket/model", False), ("/models/bert", False)],
)
def test_only_a_model_of_the_hub_is_named_as_base_for_the_hub(tmp_path: Path, base_model: str, shown: bool) -> None:
    registry, candidate = Registry(str(tmp_path / "registry")), write_candidate(tmp_path / "c")
    change(candidate[0] / "bundle.json", base_model=base_model)
    card = registry.card(registry.promote(*candidate))
    assert (f'base_model: "{base_model}"' in card.splitlines()) == shown
    assert f"- Base model: `{base_model}`" in card


def test_the_header_has_letters_of_any_script_as_they_are_and_is_yaml(tmp_path: Path) -> None:
    registry, (bundle, evaluation, decision) = Registry(str(tmp_path / "registry")), write_candidate(tmp_path / "c")
    names = ["f1:배송 문의", "f1:\U0001f600 café", "f1:\x7f\u2028\ufeff", 'f1:"\\u1234']
    change(evaluation / "evaluation.json", metrics={name: {"value": 0.5} for name in names})
    header = registry.card(registry.promote(bundle, evaluation, decision)).split("---\n")[1]
    assert names[0] in header and names[1] in header
    (result,) = yaml.safe_load(header)["model-index"][0]["results"]
    assert [one["name"] for one in result["metrics"]] == names
