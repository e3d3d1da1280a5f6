"""Whether an engine may serve a version: it was evaluated with it, or with one shown to give the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfp_bert_components.deployment.smoke_requests import read_stored_bundle, read_stored_evaluation
from kfp_bert_components.errors import UserError

if TYPE_CHECKING:
    from kfp_bert_components.registry import Registry


def check_engines(registry: Registry, version: int, *engines: str) -> None:
    """Check that a version's evaluation holds for each engine that may serve it.

    Args:
        registry: Where the version is stored, with its evaluation.
        version: The version's number in it.
        engines: "onnxruntime" or "tensorflow"; by default all that its bundle can be served with.

    Raises:
        UserError: It does not: another engine was evaluated, and the export did not show that both give the same
            probabilities.
    """
    bundle = read_stored_bundle(registry, version)
    engines = engines or tuple(bundle.engines)
    if engines == tuple(bundle.engines) and len(engines) == 1:
        return  # there was no other one to evaluate it with
    evaluated = read_stored_evaluation(registry, version).engine
    for engine in engines:
        if why := bundle.differs(engine, evaluated):
            raise UserError(
                f"Version {version} can't be deployed here: {why}. Serve it with `kfp-bert serve`, or train it with "
                "export_precision float32, which every engine can serve."
            )
