"""What libraries say at their start without need: of GPUs where nobody asked for one, and of themselves."""

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import glob

# TensorFlow writes the first of these before it looks at TF_CPP_MIN_LOG_LEVEL.
_OF_GPUS = re.compile(
    rb"All log messages before absl::InitializeLog|oneDNN custom operations are on|Could not find cuda drivers"
    rb"|failed call to cuInit|Unable to register cu\w+ (factory|plugin)|computation placer already registered"
    rb"|This TensorFlow binary is optimized|To enable the following instructions"
)
_OF_THEMSELVES = re.compile("PyTorch was not found|Matplotlib is building the font cache|generated new fontManager")


def gpu_asked_for() -> bool:
    """Whether this container or machine has an NVIDIA GPU that is not hidden from this process."""
    # NVIDIA's container runtime names the GPUs that a container gets; elsewhere there are only their devices.
    named = os.environ.get("NVIDIA_VISIBLE_DEVICES", "") not in ("", "none", "void")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and bool(named or glob("/dev/nvidia[0-9]*"))


@contextmanager
def quietly() -> Iterator[None]:
    """Keep from stderr what TensorFlow, transformers and Matplotlib say without need when they start in this block.

    Where a GPU was asked for, TensorFlow says all that it has to say. All other lines come when the block ends.
    """
    for name in ("transformers", "matplotlib.font_manager"):
        logging.getLogger(name).addFilter(_is_needed)
    if gpu_asked_for():
        yield
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # not its information, but its warnings
    with tempfile.TemporaryFile() as said, _stderr_to(said.fileno()):
        yield


def _is_needed(record: logging.LogRecord) -> bool:
    return not _OF_THEMSELVES.search(record.getMessage())


@contextmanager
def _stderr_to(file: int) -> Iterator[None]:
    """Send what this process writes to stderr, in C++ too, to a file, and the lines that are needed on when it ends."""
    sys.stderr.flush()
    try:
        before = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    os.dup2(file, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
        os.lseek(file, 0, os.SEEK_SET)
        with open(file, "rb", closefd=False) as lines, suppress(OSError):
            for line in lines:
                if not _OF_GPUS.search(line):
                    os.write(2, line)
