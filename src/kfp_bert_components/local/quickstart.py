"""The quickstart: the main pipeline on the bundled sample, from data to an answer of the served model."""

import json
import shlex
import signal
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from kfp_bert_components.local.pipelines import compile_pipeline
from kfp_bert_components.local.results import read_outputs
from kfp_bert_components.local.server import predict, running_server
from kfp_bert_components.local.show import show_run
from kfp_bert_components.storage import is_folder, is_there

PIPELINE = "kfp_bert_components.pipelines:train_and_deploy"
SAMPLE = Path(__file__).with_name("sample") / "screenplay.csv"
# Not in the sample; its label is scene_heading.
LINE = "INT. LIGHTHOUSE KITCHEN - NIGHT"


def quickstart(folder: Path, console: Console, *, keep_serving: bool = False, port: int = 8501) -> None:
    """Run the main pipeline, and show the decision, where its outputs are, and an answer of the served model.

    Args:
        folder: Folder for the registry, the served model and the runs' artifacts. If it has them from a quickstart
            before, a new candidate is trained with another seed and compared with that champion.
        console: Where to show it.
        keep_serving: Whether the REST server runs until Ctrl-C.
        port: Port of the REST server; another one is taken if it is in use.

    Raises:
        UserError: A step failed, or the server did not start.
    """
    is_there(folder)  # or a sentence why that can't be known
    folder = folder.resolve()
    arguments = {
        "sources": [str(SAMPLE)],
        "registry": str(folder / "registry"),
        "serving_directory": str(folder / "serving"),
        # A larger share than the default: a test set of 170 rows can hardly tell two good models apart.
        "test_fraction": 0.25,
        "seed": _number_of_runs(folder / "runs"),
    }
    console.print("Screenplay lines in six classes: train, compare with the champion, deploy if better.\n")
    with tempfile.TemporaryDirectory() as scratch:
        spec = Path(scratch) / "pipeline.yaml"
        compile_pipeline(PIPELINE, spec)
        outputs = read_outputs(show_run(spec, arguments, folder / "runs", console))
    _show_decision(outputs, folder, console)
    with running_server(folder / "serving", folder / "server.log", port) as url:
        _show_answer(url, console)
        if keep_serving:
            console.print(f"\nServing at {url} until Ctrl-C.")
            signal.pause()
    serve = f"kfp-bert serve {shlex.quote(str(folder / 'serving'))}"
    console.print(f"That server has ended. To ask the model yourself: {serve}", markup=False)


def _number_of_runs(runs: Path) -> int:
    return len(list(runs.glob("train-and-deploy-*"))) if is_folder(runs) else 0


def _show_decision(outputs: dict[str, dict[str, Any]], folder: Path, console: Console) -> None:
    comparison = outputs["compare-models"]
    console.print(f"\n[bold]{comparison['outcome']}[/]: {comparison['reason']}\n")
    places = {
        "model": outputs["finetune-bert"]["model"],
        "registry": folder / "registry",
        "served model": folder / "serving",
        "decision, as a page": comparison["report"].with_suffix(".html"),
        "evaluation, as a page": outputs["evaluate-model"]["report"].with_suffix(".html"),
        "data, as a page": outputs["prepare-text-data"]["report"].with_suffix(".html"),
    }
    for name, path in places.items():
        console.print(f"{name:22} {path}")


def _show_answer(url: str, console: Console) -> None:
    body = json.dumps({"instances": [LINE]})
    console.print(f"\n$ curl -d {shlex.quote(body)} {url}/v1/models/bert:predict", markup=False)
    answer = predict(url, [LINE])[0]
    console.print(f"{LINE!r} is [bold]{answer['label']}[/] (score {answer['score']:.3f})")
