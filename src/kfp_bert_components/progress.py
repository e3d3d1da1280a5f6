"""Lines of the log, which may quote data."""

import os
import sys

from kfp_bert_components.plain import plain


def say(line: str) -> None:
    """Print a line to stdout and flush it, so that it is in the log at once. It may quote data; see `plain`."""
    print_line(plain(line))


def print_line(line: str) -> None:
    """Print a line to stdout in one piece, so that lines of several threads do not mix, and flush it."""
    print(f"{line}\n", end="", flush=True)


def log_line(line: str) -> None:
    """The same for a server, which must not fail by its log: a line that can't be written is lost.

    So it is where a pipe's reader is gone, or a disk is full.
    """
    try:
        print_line(line)
    except BrokenPipeError:
        # What is still to be written at the end of the process would fail then, and give it another exit code.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except OSError:
        pass
