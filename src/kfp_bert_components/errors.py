"""The errors of this package. A message is one sentence that names what is at fault and says what to do."""

import os
import sys
import textwrap
from types import TracebackType

from kfp_bert_components.plain import plain

_COLUMNS = 100  # of a line that the Logs tab of Kubeflow's UI shows whole


class UserError(Exception):
    """What the user gave or asked for cannot be used.

    The message names the file, row, object or parameter, what was expected, and what to do. Command line and local runs
    print it without a traceback. It may quote data and file names: shown, it is one line without control characters.
    """

    def __str__(self) -> str:
        return plain(super().__str__())


class ConflictError(UserError):
    """Another process changed the object since it was read."""


class NotFoundError(UserError):
    """The file or object that was asked for does not exist."""


class NoBucketError(NotFoundError):
    """The bucket of an address does not exist."""


class NoChampionError(UserError):
    """A registry has no version to deploy yet, as after a first model that was held back."""


class DamagedError(UserError):
    """A record is there and can't be read: it is no JSON object, or lacks a field."""


class RunError(UserError):
    """A step of a run failed. The message has the lines that explain it: for a mistake in code, a traceback."""

    def __str__(self) -> str:
        return "\n".join(plain(line) for line in Exception.__str__(self).split("\n"))


class TransientError(Exception):
    """A call failed in a way that may pass. It may have taken effect, so look at its object before trying again."""


def reason_of(error: BaseException) -> str:
    """Why a file or a server can't be had, in the system's few words, without those of the libraries around them."""
    causes = [error]
    while inner := causes[-1].__cause__ or (not causes[-1].__suppress_context__ and causes[-1].__context__):
        causes.append(inner)
    for one in causes:
        if isinstance(one, TimeoutError):
            return "no answer in time"
        if isinstance(one, UnicodeDecodeError):
            return "it is no text in UTF-8"
        if words := getattr(one, "verify_message", "") or getattr(one, "strerror", ""):
            return str(words)
    return (str(causes[-1]) or type(error).__name__).rstrip(".")


def end_with_sentence(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write why a step failed, as its `sys.excepthook`: an error of this package as its sentence alone.

    The sentence is wrapped at 100 columns. Other errors have their frames, and with KFP_BERT_TRACEBACK=1 all have.
    """
    if not isinstance(error, (UserError, TransientError)) or os.environ.get("KFP_BERT_TRACEBACK") == "1":
        sys.__excepthook__(kind, error, trace)
        return
    sys.stdout.flush()
    for line in str(error).splitlines():
        print(textwrap.fill(line, _COLUMNS, break_long_words=False, break_on_hyphens=False), file=sys.stderr)
