"""`kfp-bert serve`: the REST server on a model."""

import click

from kfp_bert_components.cli.groups import example


@click.command("serve", epilog=example("kfp-bert serve gs://my-bucket/registry --port 8501"))
@click.argument("path", type=click.Path(), envvar="AIP_STORAGE_URI")
@click.option(
    "--host", help="Address to listen on; 0.0.0.0 for all addresses.  [default: 127.0.0.1; 0.0.0.0 on AI Platform]"
)
@click.option("--port", default=8501, show_default=True, envvar="AIP_HTTP_PORT", help="TCP port; 0 for any free one.")
@click.option("--name", "--model-name", default="bert", show_default=True, help="Name that requests give the model.")
@click.option(
    "--threads",
    default=0,
    type=click.IntRange(min=0),
    help="Threads that the model uses.  [default: the number of cores that the server may use]",
)
@click.option("--access-log", is_flag=True, help="Print a line of JSON for each request, without its texts.")
@click.option(
    "--compile/--no-compile",
    "compiled",
    default=True,
    show_default=True,
    help="With TensorFlow, answer single short texts with compiled code, which is made in the background.",
)
@click.option(
    "--must-load",
    is_flag=True,
    help="End with the reason if no model can be loaded.  [default: wait for a model; set under KServe]",
)
def command(
    path: str,
    host: str | None,
    port: int,
    name: str,
    threads: int,
    access_log: bool,
    compiled: bool,
    must_load: bool,
) -> None:
    """Serve the model at PATH: a bundle, a SavedModel folder, a folder of versions, or a registry (its champion).

    PATH is local, on gs:// or on s3://. If the model has model.onnx, ONNX Runtime answers; otherwise TensorFlow
    answers. The server ends at Ctrl-C or SIGTERM, after it has answered the requests under way. It loads a new version
    within seconds.
    """
    import os
    import sys

    from kfp_bert_components.errors import UserError
    from kfp_bert_components.serving import serve

    host = host or ("0.0.0.0" if "AIP_HTTP_PORT" in os.environ else "127.0.0.1")
    try:
        ended = serve(
            path,
            host,
            port,
            name=name,
            threads=threads,
            access_log=access_log,
            compiled=compiled,
            must_load=must_load or "INFERENCE_SERVICE_NAME" in os.environ,
        )
    except UserError as error:
        _write_termination_log(str(error))
        raise
    if ended is False:
        sys.stdout.flush()
        os._exit(0)


def _write_termination_log(reason: str) -> None:
    """Let Kubernetes know why the container ends: its file is there in every container of a pod."""
    import os
    from contextlib import suppress

    path = os.environ.get("KFP_BERT_TERMINATION_LOG", "/dev/termination-log")
    if os.path.isfile(path):
        with suppress(OSError), open(path, "w", encoding="utf-8") as file:
            file.write(reason)
