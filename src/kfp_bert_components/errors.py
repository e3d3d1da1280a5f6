"""The errors of this package. A message is one sentence that names what is at fault and says what to do."""

from kfp_bert_components.plain import plain


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


class DamagedError(UserError):
    """A record is there and can't be read: it is no JSON object, or lacks a field."""


class RunError(UserError):
    """A step of a run failed. The message has the lines that explain it: for a mistake in code, a traceback."""

    def __str__(self) -> str:
        return "\n".join(plain(line) for line in Exception.__str__(self).split("\n"))


class TransientError(Exception):
    """A call failed in a way that may pass. It may have taken effect, so look at its object before trying again."""
