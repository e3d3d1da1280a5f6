"""The model card of a version: Markdown with a YAML header, as the Hugging Face hub has it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from kfp_bert_components.evaluation import Evaluation
from kfp_bert_components.formats import count, size
from kfp_bert_components.origin import read_origin
from kfp_bert_components.plain import markdown, plain

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+|[\w-]+")
_LINK = re.compile(r"https?://[\w./:@#?=&%~+,-]+", re.ASCII)
# Names that the hub knows for what our metrics are.
_METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "f1",
    "f1": "f1",
    "precision": "precision",
    "recall": "recall",
}


def model_card(record: Mapping[str, Any], model: Mapping[str, Any], scores: Evaluation) -> str:
    """The card of one version.

    Args:
        record: The version's record (version.json).
        model: bundle.json.
        scores: The model's evaluation.
    """
    metrics = {name: one for name, one in scores.metrics.items() if _numbers(one)}
    return "\n".join([*_header(record, model, scores, metrics), *_body(record, model, scores, metrics), ""])


def _header(
    record: Mapping[str, Any], model: Mapping[str, Any], scores: Evaluation, metrics: Mapping[str, Any]
) -> list[str]:
    lines = [
        "---",
        "library_name: keras",
        "pipeline_tag: text-classification",
        "tags:",
        "- bert",
        "- kubeflow",
    ]
    if _HUB_ID.fullmatch(record["base_model"]):
        lines.append(f"base_model: {_yaml(record['base_model'])}")
    if metrics:
        fingerprint = scores.test_fingerprint
        results = [
            {"type": _METRICS.get(name.partition(":")[0], name), "name": name, "value": one["value"]}
            for name, one in metrics.items()
        ]
        result = {
            "task": {"type": "text-classification"},
            "dataset": {"type": "private", "name": f"test split {fingerprint[:16]}"},
            "metrics": results,
        }
        index = [{"name": _name(record), "results": [result]}]
        lines.append(f"model-index: {_yaml(index)}")
    return [*lines, "---"]


def _body(
    record: Mapping[str, Any], model: Mapping[str, Any], scores: Evaluation, metrics: Mapping[str, Any]
) -> list[str]:
    labels = ", ".join(_code(str(label)) for label in model.get("labels", []))
    what = "pairs of texts" if model.get("pair") else "texts"
    parent = f"version {record['parent']}" if record["parent"] else "nothing: it is the first champion"
    return [
        f"# {_name(record)}",
        "",
        f"A BERT classifier of {what} into {len(model.get('labels', []))} classes: {labels}.",
        "",
        f"- Base model: {_code(record['base_model']) or 'none, trained from scratch'}",
        f"- Longest input: {model.get('max_length')} tokens; what is longer is cut",
        f"- Data fingerprint: {_code(record['data_fingerprint'])}",
        f"- Model fingerprint: {_code(record['bundle_fingerprint'])}",
        f"- Registered: {record['at']} by {markdown(record['by'])}",
        f"- Made with: kfp-bert-components {record['package_version']}",
        f"- Replaces: {parent}",
        f"- Why it was promoted: {markdown(record['reason'].strip()) or 'no reason is recorded'}",
        "",
        "## Evaluation",
        "",
        f"On the test split with fingerprint {_code(scores.test_fingerprint)}; the interval "
        "is the one that the evaluation gives.",
        "",
        "| metric | value | interval |",
        "|---|---|---|",
        *(f"| {_code(name)} | {one['value']:.4f} | {_interval(one)} |" for name, one in metrics.items()),
        "",
        "## Training",
        "",
        "| parameter | value |",
        "|---|---|",
        *(f"| {_code(name)} | {_code(str(value))} |" for name, value in sorted(record["parameters"].items())),
        "",
        "Libraries: "
        + ", ".join(markdown(f"{name} {version}") for name, version in sorted(_versions(model).items()))
        + ".",
        "",
        *_made(record),
        "## Use",
        "",
        "`kfp-bert serve bundle` serves it; `bundle/huggingface/` loads in transformers:",
        "",
        "```python",
        "from transformers import pipeline",
        'classify = pipeline("text-classification", model="bundle/huggingface")',
        "```",
        "",
        "## Limits",
        "",
        "The figures hold for texts like those of the test split. Texts of another kind, language or time "
        "were not looked at, and neither were differences between groups of people.",
    ]


def _made(record: Mapping[str, Any]) -> list[str]:
    """Which run made the version, of which artifacts, and of which files; [] where nothing is known."""
    lines = [
        f"- {markdown(name).capitalize()}: {_shown(value)}" for name, value in read_origin(record["origin"]).facts()
    ]
    if data := record["data"]:
        lines.append(
            f"- Training data: {count(data['files'])} file{'s' * (data['files'] != 1)}, {size(data['bytes'])}, of "
            f"{', '.join(map(_code, data['sources']))}; fingerprint {_code(data['fingerprint'])}"
        )
        lines += [f"  - {_code(address)}, generation {generation}" for address, generation, _ in data["objects"]]
        if more := data["files"] - len(data["objects"]):
            lines.append(f"  - and {count(more)} more")
    return ["## Where it was made", "", *lines, ""] if lines else []


def _shown(value: str) -> str:
    """An address of a page as a link, all else as code."""
    return f"<{value}>" if _LINK.fullmatch(value) else _code(value)


def _yaml(value: Any) -> str:
    """JSON, which is YAML too: letters of any script as they are, and what can't be printed as an escape of YAML."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in text)


def _name(record: Mapping[str, Any]) -> str:
    return f"Text classifier, version {record['version']}"


def _versions(model: Mapping[str, Any]) -> Mapping[str, Any]:
    return model.get("versions") or {"not": "recorded"}


def _numbers(one: object) -> bool:
    return isinstance(one, Mapping) and isinstance(one.get("value"), (int, float)) and one["value"] == one["value"]


def _interval(one: Mapping[str, Any]) -> str:
    if isinstance(one.get("low"), (int, float)) and isinstance(one.get("high"), (int, float)):
        return f"{one['low']:.4f} to {one['high']:.4f}"
    return ""


def _code(text: str) -> str:
    """Text as Markdown code that can't break out of its line or table cell."""
    cleaned = re.sub(r"[\s`|]+", " ", plain(text)).strip()
    return f"`{cleaned}`" if cleaned else ""
