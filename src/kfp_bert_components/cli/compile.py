"""`kfp-bert compile`: a pipeline as the file that a cluster takes."""

import tempfile
from pathlib import Path
from typing import Any

import click

from kfp_bert_components.errors import UserError


@click.command()
@click.argument("pipeline")
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--cluster",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What the steps need where they run: a cluster.yaml.",
)
@click.option("--images", metavar="PLACE", help="Where the cluster pulls this package's images from: all.images.")
@click.option("--volume", "volumes", metavar="CLAIM:FOLDER", multiple=True, help="A volume of every step: all.volumes.")
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Any setting of a cluster.yaml, such as all.caching=no.",
)
def command(
    pipeline: str,
    target: Path,
    cluster: Path | None,
    images: str | None,
    volumes: tuple[str, ...],
    settings: tuple[str, ...],
) -> None:
    """Write PIPELINE to the YAML file TARGET, for a cluster.

    PIPELINE is a function as module:function or file.py:function, or a pipeline that is compiled already.

    With --images my-registry/my-team the steps pull this package's images from there, whether the components were
    imported or loaded by URL. Other images stay as they are.

    On Kubernetes this package's steps request CPU and memory, unless the pipeline or cluster.yaml says how much. What
    else pods need (GPUs, volumes, secrets, nodes, retries ...) stands in cluster.yaml. --volume, --images and --set win
    over the file; --set takes one key, or two with a dot between them, and a value in YAML:
    --set training.accelerator='{type: nvidia.com/gpu}'. For Vertex AI Pipelines: --set platform=vertex.

    Settings that prepare_text_data, finetune_bert or compare_models would refuse are refused here, where all of a
    step's are constants.
    """
    from kfp.components import load_component_from_file

    from kfp_bert_components.compiling import compile, read_cluster
    from kfp_bert_components.local.checks import check_settings
    from kfp_bert_components.local.pipelines import compile_pipeline
    from kfp_bert_components.validation import load_yaml

    # First the file alone, whose errors name it; then with what the command line puts on top.
    values = read_cluster(cluster).model_dump(exclude_unset=True)
    if images is not None:
        _put(values, "all.images", images)
    claims = [_pair("--volume", volume, ":", "my-claim:/data") for volume in volumes]
    for claim, folder in claims:
        if [one for one, other in claims if one == claim and other != folder]:
            raise UserError(f"--volume names the claim {claim!r} with two folders: a step can have it in one only.")
        _put(values, "all.volumes", {claim: folder})
    for setting in settings:
        key, value = _pair("--set", setting, "=", "training.memory_request=8Gi")
        try:
            _put(values, key, load_yaml(value))
        except UserError as error:
            raise UserError(f"--set {setting}{error}") from None
    checked = read_cluster(values)
    with tempfile.TemporaryDirectory() as scratch:
        compiled = Path(scratch) / "pipeline.yaml"
        check_settings(compile_pipeline(pipeline, compiled), {})
        is_file = pipeline.endswith((".yaml", ".yml", ".json"))
        compile(pipeline if is_file else load_component_from_file(str(compiled)), target, checked)
    if checked.service_account:
        click.echo(f"Submit {target} with service_account={checked.service_account!r}.")


def _pair(option: str, text: str, mark: str, example: str) -> tuple[str, str]:
    before, found, after = text.partition(mark)
    if not before or not found or not after:
        raise UserError(f"{option} {text!r} has another form than {example}.")
    return before, after


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set one key of a cluster.yaml, such as platform or training.volumes; a mapping is added to the one there."""
    section, _, name = key.partition(".")
    if name and not isinstance(values.get(section), dict):
        values[section] = {}
    target = values[section] if name else values
    if isinstance(value, dict) and isinstance(target.get(name or section), dict):
        value = target[name or section] | value
    target[name or section] = value
