"""Text that comes from data or people, as something to show: it stays what it is, on every surface."""

import re
from collections.abc import Sequence

# White space, control characters, and others that show nothing (Unicode's Default_Ignorable_Code_Point), as the inside
# of a character class.
BLANKS = (
    "\x00-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f"
    "\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff"
)
_BREAKS = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
# Control characters, halves of surrogate pairs, and the marks that turn the direction of writing.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ENDS = re.compile(f"^[{BLANKS}]+|[{BLANKS}]+$")
_MARKDOWN = re.compile(r"[\\`*_\[\]<>|~&]")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def plain(text: str) -> str:
    """Text on one line: line breaks and tabs become a space, other characters that can't be seen become escapes."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), _BREAKS.sub(" ", text))


def stripped(text: str) -> str:
    """Text without blanks at its ends: white space, and characters that show nothing."""
    return _ENDS.sub("", text)


def printed(text: str) -> str:
    """What a program printed, without its colours; each line of it as `plain` makes it."""
    return "\n".join(plain(line) for line in _COLOUR.sub("", text).split("\n"))


def markdown(text: str) -> str:
    """Text on one line that Markdown shows as it is, also in a table."""
    return _MARKDOWN.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), plain(text))


def listed(names: Sequence[str], most: int = 10) -> str:
    """Names in quotes on one line, as "'a', 'b' and 3 more" where there are more than `most`."""
    shown = ", ".join(repr(plain(name)) for name in names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown
