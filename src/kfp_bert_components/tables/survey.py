"""One quick pass over a text file: size, encoding, and a sample of its start."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.files import TableFile, blocks, refuse_foreign

SAMPLE = 1 << 18
# Bytes that no text has many of.
_CONTROLS = bytes(c for c in range(32) if c not in b"\t\n\r\f\x1b")
BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass
class Survey:
    """What the pass found.

    Attributes:
        size: Bytes, uncompressed.
        sample: The first `SAMPLE` bytes.
        odd: Up to `SAMPLE` bytes around the bytes that are not ASCII, to guess the encoding from.
        valid_utf8: Whether the whole file is UTF-8.
    """

    size: int = 0
    sample: bytes = b""
    odd: bytes = b""
    valid_utf8: bool = True


def survey(file: TableFile, compression: str) -> Survey:
    """Go through a file once.

    Raises:
        UserError: The file is something that is no table, or damaged.
    """
    found = Survey()
    decoder = codecs.getincrementaldecoder("utf-8")()
    pending = False
    for block in blocks(file, compression):
        if not found.size:
            refuse_foreign(file, block)
        if len(found.sample) < SAMPLE:
            found.sample += block[: SAMPLE - len(found.sample)]
        found.size += len(block)
        plain = block.isascii()
        if not plain and len(found.odd) < SAMPLE:
            found.odd += _odd_lines(block)[: SAMPLE - len(found.odd)]
        # ASCII after whole characters is UTF-8: nothing to decode.
        if found.valid_utf8 and (pending or not plain):
            found.valid_utf8 = _decodes(decoder, block)
            pending = bool(decoder.getstate()[0])
    found.valid_utf8 = found.valid_utf8 and _decodes(decoder, b"", final=True)
    return found


def find_encoding(file: TableFile, found: Survey, asked: str = "auto") -> str:
    """The codec of a file, by its byte order mark, by being valid UTF-8, or by the likeliest guess.

    Args:
        file: The file, for its name.
        found: Its survey.
        asked: "auto", or a codec that the user named.

    Raises:
        UserError: The codec does not exist, or the file is binary.
    """
    if asked != "auto":
        try:
            b"".decode(asked)  # hex and the like are codecs, but not of text
            name = codecs.lookup(asked).name
        except LookupError as error:
            raise UserError(f"encoding {asked!r} is not known: give a name such as utf-8, cp1252 or utf-16.") from error
        return "utf-8-sig" if name == "utf-8" and found.sample.startswith(codecs.BOM_UTF8) else name
    for bom, name in BOMS.items():
        if found.sample.startswith(bom):
            return name
    wide = _wide(found)
    if wide:
        return wide
    controls = len(found.sample) - len(found.sample.translate(None, _CONTROLS))
    if controls > 0.03 * len(found.sample):
        raise UserError(f"{file.name} is a binary file, not a table: give CSV, JSONL or Parquet.")
    if found.valid_utf8:
        return "utf-8"
    return _guess(found.odd)


def _wide(found: Survey) -> str:
    """UTF-16 without a mark, which has a NUL at nearly every other place."""
    even, odd = found.sample[::2].count(0), found.sample[1::2].count(0)
    half = max(1, len(found.sample) // 2)
    if odd > 0.6 * half and even < 0.1 * half:
        return "utf-16-le"
    if even > 0.6 * half and odd < 0.1 * half:
        return "utf-16-be"
    return ""


def _guess(odd: bytes) -> str:
    """The encoding of bytes that are not UTF-8 throughout."""
    decoded = odd.decode("utf-8", errors="replace")
    broken, whole = decoded.count("\ufffd"), sum(character > "\x7f" for character in decoded)
    if whole - broken > 9 * broken:
        return "utf-8"  # UTF-8 with a few damaged rows
    try:
        odd.decode("cp1252")
        western = True
    except UnicodeDecodeError:
        western = False
    # A few accents and typographic quotes among plain letters: too little for statistics, and nearly always Windows.
    if western and sum(byte > 127 for byte in odd) < 0.06 * len(odd):
        return "cp1252"
    from charset_normalizer import from_bytes

    best = from_bytes(odd).best()
    return best.encoding if best and best.encoding not in ("ascii", "utf_8") else "cp1252" if western else "latin-1"


def _odd_lines(block: bytes) -> bytes:
    return b"\n".join(line for line in block.splitlines() if not line.isascii())


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, final: bool = False) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True
