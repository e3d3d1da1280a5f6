"""`kfp-bert compile`: a pipeline as the file that a cluster takes."""

import re
import tempfile
from pathlib import Path
from typing import Any, get_args

import click

from kfp_bert_components.addresses import IMAGES, NOT_RELEASED, RELEASED
from kfp_bert_components.cli.folders import LocalFile
from kfp_bert_components.cli.groups import bundled, example
from kfp_bert_components.errors import UserError

cluster_options = bundled(
    "cluster_settings",
    click.option(
        "--cluster",
        metavar="FILE",
        type=LocalFile(),
        help="A cluster.yaml, which says what the steps need where they run.",
    ),
    click.option(
        "--images", metavar="PLACE", help="Where the cluster pulls this package's images from (the setting all.images)."
    ),
    click.option(
        "--volume",
        "volumes",
        metavar="CLAIM:FOLDER",
        multiple=True,
        help="A volume for every step (the setting all.volumes).",
    ),
    click.option(
        "--set",
        "settings",
        metavar="KEY=VALUE",
        multiple=True,
        help="Any setting of a cluster.yaml, such as all.caching=no.",
    ),
)


@click.command(epilog=example("kfp-bert compile train_and_deploy pipeline.yaml --images my-registry/my-team"))
@click.argument("pipeline")
@click.argument("target", type=LocalFile())
@cluster_options
def command(pipeline: str, target: Path, cluster_settings: dict[str, Any]) -> None:
    """Write PIPELINE to the YAML file TARGET, for a cluster.

    PIPELINE is a function (module:function or file.py:function), the name of a ready pipeline, or a pipeline that is
    compiled already.

    With --images my-registry/my-team, the steps pull this package's images from that place, whether the components were
    imported or loaded by URL. Other images stay as they are.

    On Kubernetes, this package's steps request default amounts of CPU and memory, unless the pipeline or cluster.yaml
    says how much. cluster.yaml also says what else pods need (GPUs, volumes, secrets, nodes, retries ...). --volume,
    --images and --set win over the file. --set takes one key, or two keys with a dot between them, and a value in YAML:
    --set training.accelerator='{type: nvidia.com/gpu}'. For Vertex AI Pipelines: --set platform=vertex.

    If all settings of a step are constants, this command refuses settings that prepare_text_data, finetune_bert or
    compare_models would refuse.
    """
    _, account = compile_for(pipeline, target, cluster_settings)
    click.echo(f"Wrote {target}.")
    if account:
        click.echo(f"Submit {target} with service_account={account!r}.")


def compile_for(
    pipeline: str, target: Path, cluster_settings: dict[str, Any], platform: str = "", caching: bool = True
) -> tuple[dict[str, Any], str]:
    """Compile a pipeline by its name and what the options of `cluster_options` said.

    Args:
        pipeline: As the argument of the command.
        target: The YAML file to write.
        cluster_settings: The options.
        platform: Platform to compile for, kubernetes or vertex; "" for the one that cluster.yaml names.
        caching: False: no step takes the result of an earlier run, whatever else is said.

    Returns:
        The compiled pipeline as it was before, and the service account that it says to submit with.

    Raises:
        UserError: As of `compiling.compile`; or cluster.yaml is for another platform.
    """
    from kfp.components import load_component_from_file

    from kfp_bert_components.compiling import compile, read_cluster
    from kfp_bert_components.compiling.settings import Kind
    from kfp_bert_components.local.checks import check_settings
    from kfp_bert_components.local.pipelines import compile_pipeline
    from kfp_bert_components.validation import load_yaml

    # First the file alone, whose errors name it; then with what the command line puts on top.
    values = read_cluster(cluster_settings["cluster"]).model_dump(exclude_unset=True)
    if cluster_settings["images"] is not None:
        _put(values, "all.images", cluster_settings["images"])
    claims = [_pair("--volume", volume, ":", "my-claim:/data") for volume in cluster_settings["volumes"]]
    for claim, folder in claims:
        if [one for one, other in claims if one == claim and other != folder]:
            raise UserError(f"--volume names the claim {claim!r} with two folders: a step can have it in one only.")
        _put(values, "all.volumes", {claim: folder})
    for setting in cluster_settings["settings"]:
        key, value = _pair("--set", setting, "=", "training.memory_request=8Gi")
        try:
            _put(values, key, load_yaml(value))
        except UserError as error:
            raise UserError(f"--set {setting}{error}") from None
    if platform and values.setdefault("platform", platform) != platform:
        raise UserError(
            f"The settings are for platform {values['platform']}, and this is {platform}: use another cluster.yaml."
        )
    if not caching:
        for section in ("all", *get_args(Kind)):
            _put(values, f"{section}.caching", False)
    checked = read_cluster(values)
    with tempfile.TemporaryDirectory() as scratch:
        compiled = Path(scratch) / "pipeline.yaml"
        spec = compile_pipeline(pipeline, compiled)
        check_settings(spec, {})
        is_file = pipeline.endswith((".yaml", ".yml", ".json"))
        compile(pipeline if is_file else load_component_from_file(str(compiled)), target, checked)
        text = target.read_text()
    said = re.search(r"^# Submit with service_account='(.*)'$", text, re.MULTILINE)
    if not RELEASED and f"image: {IMAGES}/python" in text:
        click.echo(
            f"{NOT_RELEASED} No cluster finds the images {IMAGES}/...: say where yours are by --images.", err=True
        )
    return spec, checked.service_account or (said[1] if said else "")


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
