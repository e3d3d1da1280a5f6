"""`kfp-bert compile`: a pipeline as the file that a cluster takes."""

import tempfile
from pathlib import Path

import click


@click.command()
@click.argument("pipeline")
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--images", metavar="PLACE", help="Where the cluster pulls this package's images from.")
def command(pipeline: str, target: Path, images: str | None) -> None:
    """Write PIPELINE to the YAML file TARGET, for a cluster.

    PIPELINE is a function as module:function or file.py:function, or a pipeline that is compiled already.

    With --images my-registry/my-team the steps pull this package's images from there, whether the components were
    imported or loaded by URL. Other images stay as they are.

    Settings that prepare_text_data, finetune_bert or compare_models would refuse are refused here, where all of a
    step's are constants.
    """
    from kfp_bert_components import use_images
    from kfp_bert_components.errors import UserError
    from kfp_bert_components.local.checks import check_settings
    from kfp_bert_components.local.pipelines import compile_pipeline

    if target.suffix not in (".yaml", ".yml"):
        raise UserError(f"{target} is no name of a compiled pipeline: expected one that ends with .yaml.")
    with tempfile.TemporaryDirectory() as scratch:
        compiled = Path(scratch) / "pipeline.yaml"
        check_settings(compile_pipeline(pipeline, compiled), {})
        text = use_images(compiled, images).component_yaml if images is not None else compiled.read_text()
    try:
        target.write_text(text)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error}.") from None
