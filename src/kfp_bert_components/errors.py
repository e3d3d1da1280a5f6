"""The errors of this package. A message is one sentence that names what is at fault and says what to do."""


class UserError(Exception):
    """What the user gave or asked for cannot be used.

    The message names the file, row, object or parameter, what was expected, and what to do. Command line and local runs
    print it without a traceback.
    """


class ConflictError(UserError):
    """Another process changed the object since it was read."""


class NotFoundError(UserError):
    """The file or object that was asked for does not exist."""


class TransientError(Exception):
    """A call failed in a way that may pass. It may have taken effect, so look at its object before trying again."""
