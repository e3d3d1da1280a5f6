"""The errors that a user can cause. The message of each is one sentence that says what to do."""


class UserError(Exception):
    """The input is at fault: names the file, row, object or parameter, what was expected, and what to do."""


class ConflictError(UserError):
    """Somebody else changed the object since it was read."""


class TransientError(Exception):
    """A call failed in a way that may pass: it can be made again, after a look at what is there."""


class NotFoundError(UserError):
    """The file or object that was asked for does not exist."""
