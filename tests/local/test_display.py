import io

import pytest
from rich.console import Console

from kfp_bert_components.local.display import Display
from kfp_bert_components.local.events import RunFailed, StepEnded, StepPrinted, StepStarted

A, B = "for-loop-1-iteration-0/say", "for-loop-1-iteration-1/say"


@pytest.mark.parametrize("terminal", [True, False])
def test_steps_side_by_side_are_shown_on_a_terminal_and_in_a_file(terminal):
    output = io.StringIO()
    display = Display(Console(file=output, force_terminal=terminal, color_system=None, width=200))
    display.follow(
        [
            StepStarted(A),
            StepPrinted(A, "first"),
            StepStarted(B),
            StepPrinted(B, "counting 1/3 numbers (33 %), 1 numbers/s, 00:02 left"),
            StepPrinted(A, "second"),
            StepEnded(B, True),
            StepEnded(A, True),
        ]
    )
    shown = output.getvalue()
    assert f"{A} | first" in shown
    assert f"{A} | second" in shown
    assert "counting 1/3 numbers" in shown
    assert display.failure == ""


def test_what_a_relative_path_stands_for_is_shown_once_a_run():
    output, line = io.StringIO(), "registry './r' is /home/ann/r on this machine."
    steps = [event for step in "ab" for event in (StepStarted(step), StepPrinted(step, line), StepEnded(step, True))]
    Display(Console(file=output, width=200)).follow(steps)
    assert output.getvalue().count(line) == 1


def test_the_failure_of_a_step_says_more_than_that_of_the_run():
    display = Display(Console(file=io.StringIO()))
    error = "kfp_bert_components.errors.UserError: The file is empty."
    display.follow(
        [
            StepStarted("read"),
            StepPrinted("read", "Traceback (most recent call last):"),
            StepPrinted("read", error),
            StepEnded("read", False),
            RunFailed("Inner task failed."),
        ]
    )
    assert display.failure == "read: The file is empty."


def test_why_a_run_ended_early_is_its_failure_if_no_step_failed():
    display = Display(Console(file=io.StringIO()))
    display.follow([RunFailed("The condition cannot be decided."), RunFailed("Inner task failed.")])
    assert display.failure == "The condition cannot be decided."
