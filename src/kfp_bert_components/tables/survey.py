"""One quick pass over a text file: size, encoding, and a sample of its start."""

import codecs
from dataclasses import dataclass

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.files import TableFile, blocks, refuse_foreign
from kfp_bert_components.tables.guess_encoding import guess_encoding, guess_seven_bit

SAMPLE = 1 << 18
# Where the sample has fewer lines, it may be so many times longer.
_FEW_LINES, _LONGER = 50, 16
# Bytes that no text has many of.
_CONTROLS = bytes(c for c in range(32) if c not in b"\t\n\r\f\x1b")
# The bytes below these are characters of their own in every encoding that has ASCII in it.
_IN_CHARACTERS = bytes(range(0x30, 0x100))
# What stands between cells and rows.
_BETWEEN = b'\n\t,;"'
# With this, encodings of seven bits (ISO 2022) go over to characters of more than one byte.
_ESCAPE = b"\x1b$"
BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

# Codecs with the same characters and more, which browsers read in place of these (WHATWG, Encoding Standard).
_WIDER = {"euc_kr": "cp949", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932"}


@dataclass(frozen=True)
class Survey:
    """What the pass found.

    Attributes:
        size: Bytes, uncompressed.
        sample: The first `SAMPLE` bytes; more where these are few lines.
        odd: Up to `SAMPLE` bytes of lines that are not plain ASCII, to guess the encoding from; no character is cut
            off.
        valid_utf8: Whether the whole file is UTF-8.
    """

    size: int
    sample: bytes
    odd: bytes
    valid_utf8: bool


def survey(file: TableFile, compression: str) -> Survey:
    """Go through a file once; a UserError where it is something that is no table, or damaged."""
    size, sample, odd = 0, b"", b""
    decoder, valid = codecs.getincrementaldecoder("utf-8")(), True
    for block in blocks(file, compression):
        if not size:
            refuse_foreign(file, block)
        size += len(block)
        if len(sample) < (SAMPLE if sample.count(b"\n") >= _FEW_LINES else _LONGER * SAMPLE):
            sample += block[: _LONGER * SAMPLE - len(sample)]
            if sample.count(b"\n", 0, SAMPLE) >= _FEW_LINES:
                sample = sample[:SAMPLE]
        if _is_plain(block) and not decoder.getstate()[0]:
            continue  # nothing odd about it
        if len(odd) < SAMPLE:
            lines = b"".join(line for line in block.splitlines(keepends=True) if not _is_plain(line))
            room = SAMPLE - len(odd)
            odd += lines if len(lines) <= room else lines[:room].rstrip(_IN_CHARACTERS)
        try:
            decoder.decode(block if valid else b"")
        except UnicodeDecodeError:
            valid = False
    return Survey(size, sample, odd, valid and not decoder.getstate()[0])  # no character is left half read


def _utf_16(sample: bytes) -> str:
    """The codec of UTF-16 without a byte order mark; "" for other bytes.

    Its ASCII characters have a NUL each, always at the same one of two places. There no byte that stands between cells
    is ever, as hardly any script has such characters; in ASCII with NULs it is as often as at the other place.
    """
    half = max(1, len(sample) // 2)
    nuls = sample[::2].count(0) / half, sample[1::2].count(0) / half
    if max(nuls) < 0.01 or min(nuls) > max(nuls) / 5:
        return ""
    codec, high = ("utf-16-be", 0) if nuls[0] > nuls[1] else ("utf-16-le", 1)
    above, below = (sum(map(sample[place::2].count, _BETWEEN)) for place in (high, 1 - high))
    text = sample.decode(codec, errors="replace")
    strange = sum(not c.isprintable() and not c.isspace() for c in text) + text[:-1].count("\ufffd")
    return codec if 10 * above <= below and strange <= 0.01 * len(text) else ""


def _is_plain(text: bytes) -> bool:
    return text.isascii() and _ESCAPE not in text


def find_encoding(file: TableFile, found: Survey, asked: str = "auto") -> tuple[str, bool]:
    """The codec of a file, and whether it is a guess.

    It is the one that is asked for, or that of its byte order mark, or UTF-8 where the file is valid, else guessed.

    Raises:
        UserError: The codec does not exist, the file is binary, or its escape sequences can't be read.
    """
    sample = found.sample
    marked = next((name for bom, name in BOMS.items() if sample.startswith(bom)), "")
    if asked != "auto":
        try:
            b"a".decode(asked, "replace")  # hex and the like are codecs, but not of text
            name = codecs.lookup(asked).name
        except (LookupError, ValueError) as error:
            raise UserError(f"encoding {asked!r} is not known: give a name such as utf-8, cp949 or utf-16.") from error
        if marked.startswith(name.removesuffix("-le").removesuffix("-be")):
            return marked, False
        if name in ("utf-16", "utf-32"):  # which Python reads with a mark only
            return (name == "utf-16" and _utf_16(sample)) or f"{name}-le", False
        return _WIDER.get(name, name), False
    if marked:
        return marked, False
    if codec := _utf_16(sample):
        return codec, False
    if found.odd.isascii() and sample.isascii():
        if codec := guess_seven_bit(sample + b"\n" + found.odd):
            return codec, True
        if found.odd:
            raise UserError(
                f"{file.name} has escape sequences of ISO 2022 that can't be read: write it as UTF-8, or set encoding."
            )
    if len(sample) - len(sample.translate(None, _CONTROLS)) > 0.03 * len(sample):
        raise UserError(f"{file.name} is a binary file, not a table: give CSV, JSONL or Parquet.")
    codec = "utf-8" if found.valid_utf8 else guess_encoding(found.odd)
    return codec, codec != "utf-8"
