"""Pipelines that take seconds, for the tests of local runs."""

from typing import List, NamedTuple, Optional  # noqa: UP035

from kfp import dsl

component = dsl.component(base_image="python:3.11", install_kfp_package=False)


@component
def count(to: int) -> int:
    """Count to a number."""
    from kfp_bert_components.progress_bar import track

    with track(to, "counting", "numbers", every=0.0) as bar:
        for _ in range(to):
            bar.update(1)
    print("counted")
    return to


@component
def fail(how: str):
    """Fail in one of several ways."""
    import os

    from kfp_bert_components.errors import UserError

    if how.isdigit():
        os._exit(int(how))
    if how == "killed":
        os.kill(os.getpid(), 9)
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


@component
def look(
    number: int,
) -> NamedTuple(
    "Outputs",
    [("large", bool), ("number", int), ("text", str), ("names", List[str])],  # noqa: UP006
):
    """Give several outputs."""
    from collections import namedtuple

    outputs = namedtuple("Outputs", ["large", "number", "text", "names"])
    return outputs(number > 10, number, f'it\'s {number}, "so" && true', ["a", "b", "c"])


@component
def say(text: str) -> str:
    """Print a text in many lines, slowly enough for others to print between them."""
    import time

    for part in range(20):
        print(f"{text} {part}", flush=True)
        time.sleep(0.01)
    return text


@component
def write(text: str, page: dsl.Output[dsl.HTML]):
    """Write a page."""
    with open(page.path, "w") as file:
        file.write(f"<!doctype html><title>{text}</title>")


@component
def score(found: dsl.Output[dsl.ClassificationMetrics]):
    """Give an artifact without a file."""
    found.log_confusion_matrix(["a", "b"], [[1, 0], [0, 1]])


@component
def read(page: dsl.Input[dsl.HTML]) -> str:
    """Give a page back."""
    return open(page.path).read()


@component
def join(texts: List[str], pages: dsl.Input[List[dsl.HTML]]) -> str:  # noqa: UP006
    """Join texts, and what is in pages: kfp gives None for an empty list of artifacts."""
    return f"{texts} {[open(page.path).read()[22] for page in pages or []]}"


@component
def decide() -> NamedTuple("Outputs", [("outcome", str), ("reason", str)]):
    """Decide."""
    from collections import namedtuple

    return namedtuple("Outputs", ["outcome", "reason"])("HOLD", "It is [no] better.\x07")


@component
def arguments(text: str) -> str:
    """Give back what came, and the interpreter that runs this."""
    import sys

    return f"{text} {sys.executable}"


@component
def paint(fail: bool):
    """Print what a terminal takes for orders."""
    print("\x1b[31mred\x1b[0m \x1b[2Jcleared\x07 \u202eback")
    if fail:
        raise RuntimeError("\x1b[31mred\x1b[0m \x1b[2Jcleared")


@component
def surroundings() -> str:
    """Give the environment variable GREETING and all of stdin."""
    import os
    import sys

    return os.environ["GREETING"] + sys.stdin.read()


@component
def warn():
    """Print a traceback and go on."""
    import traceback

    try:
        raise ValueError("not so bad")
    except ValueError:
        traceback.print_exc()
    print("went on")


@component
def fail_once(folder: str):
    """Fail the first time."""
    from pathlib import Path

    marker = Path(folder, "failed")
    if not marker.exists():
        marker.touch()
        raise RuntimeError("the first time")


@dsl.container_component
def in_a_container():
    """Say hello from an image."""
    return dsl.ContainerSpec(image="alpine", command=["echo", "hello"])


@component
def last(status: dsl.PipelineTaskFinalStatus):
    """Say how the run ended."""
    print("it", status.state, status.error_message)


@component
def fail_last(status: dsl.PipelineTaskFinalStatus):
    """Fail as an exit handler that can't cancel a job."""
    from kfp_bert_components.errors import UserError

    raise UserError("Jobs of this run may go on.")


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


@dsl.pipeline
def branching(number: int):
    looked = look(number=number)
    with dsl.If(looked.outputs["large"] == True):  # noqa: E712
        say(text="large")
        with dsl.If(looked.outputs["text"] != "it is"):
            say(text="nested")
    with dsl.If(looked.outputs["number"] >= 12):
        say(text="twelve")


@dsl.pipeline
def choosing(number: int) -> str:
    looked = look(number=number)
    with dsl.If(looked.outputs["large"] == True):  # noqa: E712
        first, page = say(text="large"), write(text="large")
    with dsl.Elif(number == 7):
        second, other = say(text="seven"), write(text="seven")
    with dsl.Else():
        third, third_page = say(text="small"), write(text="small")
    read(page=dsl.OneOf(page.outputs["page"], other.outputs["page"], third_page.outputs["page"]))
    return dsl.OneOf(first.output, second.output, third.output)


@dsl.pipeline
def looping(number: int = 3):
    outside = say(text="outside")
    looked = look(number=number)
    with dsl.ParallelFor(looked.outputs["names"]) as name:
        say(text=f"{name} {outside.output}")
        with dsl.If(name == "b"):
            say(text=outside.output)


@dsl.pipeline
def unreadable():
    looked = look(number=1)
    with dsl.If(looked.outputs["text"] == "it's"):
        say(text="never")


@dsl.pipeline
def reporting():
    write(text="a page")
    decide()


@dsl.pipeline
def passing_arguments(text: str):
    arguments(text=text)


@dsl.pipeline
def painting(fail: bool):
    paint(fail=fail)


@dsl.pipeline
def greeting():
    surroundings().set_env_variable("GREETING", "hello")


@dsl.pipeline
def warning():
    warn()


@dsl.pipeline
def trying_again(folder: str):
    fail_once(folder=folder).set_retry(1)


@dsl.pipeline
def with_a_container():
    counted = count(to=1)
    in_a_container().after(counted)


@dsl.pipeline
def with_an_exit():
    with dsl.ExitHandler(last()):
        fail(how="user")


@dsl.pipeline
def with_an_exit_that_fails():
    with dsl.ExitHandler(fail_last()):
        fail(how="user")


@dsl.pipeline
def importing(uri: str):
    read(page=dsl.importer(artifact_uri=uri, artifact_class=dsl.HTML).output)


@dsl.pipeline
def looping_in_loops():
    with dsl.ParallelFor([{"names": ["a", "b"]}, {"names": ["c"]}]) as item, dsl.ParallelFor(item.names) as name:
        say(text=f"deep {name}")


@dsl.pipeline
def write_all(texts: List[str]) -> List[dsl.HTML]:  # noqa: UP006
    with dsl.ParallelFor(texts) as text:
        page = write(text=text)
    return dsl.Collected(page.outputs["page"])


@dsl.pipeline
def scoring():
    score()


@dsl.pipeline
def writing():
    write(text="a")


@dsl.pipeline
def looping_over_artifacts():
    pages = write_all(texts=["a", "b"])
    with dsl.ParallelFor(pages.output) as page:
        read(page=page)


@dsl.pipeline
def collecting(names: List[str]) -> str:  # noqa: UP006
    with dsl.ParallelFor(names) as name, dsl.If(name != "x"):
        page, text = write(text=name), say(text=name)
    return join(texts=dsl.Collected(text.output), pages=dsl.Collected(page.outputs["page"])).output


@component
def numbers() -> NamedTuple("Outputs", [("many", List[int]), ("by_name", dict), ("large", int)]):  # noqa: UP006
    """Numbers in a list, in a dictionary, and alone."""
    from collections import namedtuple

    return namedtuple("Outputs", ["many", "by_name", "large"])([1, 2], {"a": [3, 0.5]}, 2**53)


@component
def show(many: List[int], by_name: dict, share: float):  # noqa: UP006
    """Print what was given."""
    print("given", many, by_name, share)


@dsl.pipeline
def whole_numbers(number: int = 2, share: float = 0.5):
    """Numbers as parts of texts, lists and dictionaries, and a branch on such a text."""
    made = numbers()
    show(many=made.outputs["many"], by_name=made.outputs["by_name"], share=share)
    text = say(text=f"{number} of {made.outputs['large']}, {share}")
    with dsl.If(text.output == "2 of 9007199254740992, 0.5"):
        say(text="taken")
    with dsl.ParallelFor([7]) as item:
        say(text=f"item {item}")


@dsl.pipeline
def looping_over_constants(go: bool = True):
    """Loops over constants: in a branch, in a loop with the outer item, in a branch of a loop, and before an exit."""
    with dsl.If(go == True), dsl.ParallelFor(["a", "b"]) as item:  # noqa: E712
        say(text=f"branch {item}")
    with dsl.ParallelFor(["c", "d"]) as outer:
        with dsl.ParallelFor(["e", "f"]) as inner:
            say(text=f"loop {outer}{inner}")
        with dsl.If(outer == "d"), dsl.ParallelFor([7]) as number:
            say(text=f"both {number}")
    with dsl.ExitHandler(say(text="end")), dsl.ParallelFor(["g"]) as item:
        say(text=f"exit {item}")


@component
def things() -> list:
    """Items with keys of several types."""
    return [
        {"letter": "a", "number": 1, "yes": True, "inner": ["x"]},
        {"letter": "b", "number": 2, "yes": False, "inner": []},
    ]


@dsl.pipeline
def looping_over_keys(go: bool = True):
    """Keys of an item: in conditions, in texts, in a branch, and as the items of a loop."""
    made = things()
    with dsl.If(go == True), dsl.ParallelFor(made.output) as item:  # noqa: E712
        say(text=f"both {item.letter}{item.number}")
        with dsl.If(item.number == 1):
            say(text=f"one {item.letter}")
            with dsl.ParallelFor(item.inner) as inner:
                say(text=f"deep {inner}{item.letter}")
        with dsl.If(item.yes == True):  # noqa: E712
            say(text="yes")
    with dsl.If(go == True), dsl.ParallelFor([{"letter": "c", "number": 3}]) as item:  # noqa: E712
        say(text=f"constant {item.letter}{item.number}")


@dsl.pipeline
def lacking_a_key(items: list):
    with dsl.ParallelFor(items) as item:
        say(text=item.letter)


@dsl.pipeline
def lacking_a_key_of_a_text(items: list):
    with dsl.ParallelFor(items) as item:
        say(text=f"the {item.letter}")


@component
def tell(text: Optional[str] = None, number: Optional[int] = None, of: int = 3):  # noqa: UP045
    """Print what was given."""
    print("told", text, number, of)


@dsl.pipeline
def with_optional_parameters(text: Optional[str] = None, number: Optional[int] = None):  # noqa: UP045
    tell(text=text, number=number)
    with dsl.If(text == "go"):
        say(text="went")
    with dsl.ParallelFor([7]) as item:
        tell(text=text, number=item)
