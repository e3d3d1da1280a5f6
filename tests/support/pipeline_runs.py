"""Runs of the main pipeline on little data, for tests."""

import csv
import itertools
from pathlib import Path

from rich.console import Console

from kfp_bert_components.local.arguments import parse_arguments
from kfp_bert_components.local.pipelines import compile_pipeline
from kfp_bert_components.local.quickstart import SAMPLE
from kfp_bert_components.local.results import read_outputs
from kfp_bert_components.local.show import show_run


def small_data(folder: Path, rows: int = 500) -> Path:
    """The first rows of the bundled sample as a file of its own."""
    path = folder / "lines.csv"
    with SAMPLE.open(newline="") as source, path.open("w", newline="") as target:
        csv.writer(target).writerows(itertools.islice(csv.reader(source), rows + 1))
    return path


def run_pipeline(pipeline: str, root: Path, **params: object) -> dict[str, dict]:
    """Run a pipeline as `kfp-bert run` does; gives the outputs of its steps."""
    root.mkdir(parents=True, exist_ok=True)
    spec_path = root / "pipeline.yaml"
    spec = compile_pipeline(pipeline, spec_path)
    arguments = parse_arguments(spec, [f"{name}={value}" for name, value in params.items()])
    return read_outputs(show_run(spec_path, arguments, root / "runs", Console(soft_wrap=True)))
