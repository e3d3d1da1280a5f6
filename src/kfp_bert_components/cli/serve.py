"""`kfp-bert serve`: the REST server on a model."""

import click


@click.command("serve")
@click.argument("path", type=click.Path())
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", default=8501, show_default=True, help="TCP port; 0 for any free one.")
@click.option(
    "--compile/--no-compile",
    "compiled",
    default=True,
    show_default=True,
    help="Answer single short texts with compiled code, which is made in the background within seconds.",
)
def command(path: str, host: str, port: int, compiled: bool) -> None:
    """Serve the model at PATH: a bundle, a SavedModel folder, or a folder of versions.

    Ends at Ctrl-C or SIGTERM. A new version in a folder of versions is picked up within seconds.
    """
    from kfp_bert_components.serving import serve

    serve(path, host, port, compiled=compiled)
