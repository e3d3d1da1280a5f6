"""Pipelines that take seconds, for the tests of local runs."""

from kfp import dsl

component = dsl.component(base_image="python:3.11", install_kfp_package=False)


@component
def count(to: int) -> int:
    """Count to a number."""
    from kfp_bert_components.progress import track

    with track(to, "counting", "numbers", every=0.0) as bar:
        for _ in range(to):
            bar.update(1)
    print("counted")
    return to


@component
def fail(how: str):
    """Fail in one of several ways."""
    from kfp_bert_components.errors import UserError

    if how == "user":
        raise UserError("File lines.csv, row 3: the label is missing; add it or drop the row.")
    raise RuntimeError("something broke")


@component
def sleep(folder: str):
    """Say who runs, then sleep for long."""
    import os
    import time
    from pathlib import Path

    Path(folder, "pid").write_text(str(os.getpid()))
    time.sleep(300)


@dsl.pipeline
def counting(to: int, names: list[str] = ["a"]):  # noqa: B006
    count(to=to)


@dsl.pipeline
def failing(how: str):
    counted = count(to=1)
    fail(how=how).after(counted)


@dsl.pipeline
def sleeping(folder: str):
    sleep(folder=folder)
