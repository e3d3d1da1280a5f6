"""The text of a file in UTF-8, and in blocks of whole lines."""

import codecs
import io
import re
from collections.abc import Iterable, Iterator
from itertools import islice

from kfp_bert_components.tables.batches import LONGEST_CELL

# More of a line than this is not kept: it is a fault already.
_LONGEST_LINE = 4 * LONGEST_CELL
# Blanks that may stand before a cell.
INDENTS = "".join(map(chr, [9, 32, 0xA0, *range(0x2000, 0x200C), 0x202F, 0x205F, 0x2060, 0x3000]))


def as_utf8(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The pieces of a file as UTF-8.

    Bytes of UTF-8 files stay as they are, valid or not; in other encodings U+FFFD stands for what can't be decoded.
    The codec of UTF-8 with a byte order mark is utf-8-sig.
    """
    if encoding in ("utf-8", "ascii"):
        yield from pieces
        return
    errors = "surrogateescape" if encoding == "utf-8-sig" else "replace"
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    for piece in pieces:
        yield decoder.decode(piece).encode("utf-8", errors)
    yield decoder.decode(b"", final=True).encode("utf-8", errors)


def text_blocks(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The pieces of a file as UTF-8, put together anew so that each ends with the end of a line.

    A line of millions of characters, which is a fault in tables of lines, loses its middle.
    """
    rest = b""
    for piece in as_utf8(pieces, encoding):
        rest += piece
        # A carriage return at the very end may be the first half of a line's end.
        if end := rest.rfind(b"\n") + 1 or rest.rfind(b"\r", 0, len(rest) - 1) + 1:
            yield rest[:end]
            rest = rest[end:]
        elif len(rest) > _LONGEST_LINE:
            rest = rest[:_LONGEST_LINE] + rest[-1:]
    if rest:
        yield rest


def skip_lines(blocks: Iterable[bytes], count: int) -> Iterator[bytes]:
    """Blocks of whole lines without the first so many lines."""
    for block in blocks:
        if count:
            ends = [end.end() for end in islice(re.finditer(rb"\r\n|\r|\n", block), count)]
            count -= len(ends)
            block = block[ends[-1] :] if ends and not count else b""
        if block:
            yield block


def with_spaces(text: str, delimiter: str) -> str:
    """Lines of CSV in which blanks before a cell, such as tabs, are spaces: Python's reader passes over no others."""
    blanks = INDENTS.replace(delimiter, "")
    before = rf"(?:^|(?<=[\r\n{re.escape(delimiter)}]))[{blanks}]+"
    return re.sub(before, lambda found: " " * len(found[0]), text)


def split_lines(block: bytes) -> Iterator[str]:
    """The lines of a block with their ends; bytes that are not UTF-8 become surrogates (PEP 383)."""
    return io.StringIO(block.decode("utf-8", "surrogateescape"), newline="")
