"""Run while an image is built: python strip_symbols.py LIBRARY... removes the symbols for debuggers, as `strip` does.

The base image has no `strip`. TensorFlow's libraries carry 230 MB of such symbols. An ELF file's segments are what is
loaded when it is used; sections that lie behind the last of them, and the table of sections, are not.
"""

import struct
import sys
from pathlib import Path

_HEADER = "<16sHHIQQQIHHHHHH"  # of a 64-bit little-endian ELF file
_SEGMENT = "<IIQQQQQQ"


def strip(library: Path) -> int:
    """Cut a library behind its last segment; the number of bytes removed."""
    with library.open("r+b") as file:
        fields = list(struct.unpack(_HEADER, file.read(struct.calcsize(_HEADER))))
        identification, segments_at, segment_size, segments = fields[0], fields[5], fields[9], fields[10]
        if identification[:6] != b"\x7fELF\x02\x01" or segment_size != struct.calcsize(_SEGMENT):
            return 0
        file.seek(segments_at)
        table = struct.iter_unpack(_SEGMENT, file.read(segments * segment_size))
        end = max(offset + size for _, _, offset, _, _, size, _, _ in table)
        before = file.seek(0, 2)
        fields[6] = fields[12] = fields[13] = 0  # the table of sections: where it is, its length, its names
        file.seek(0)
        file.write(struct.pack(_HEADER, *fields))
        file.truncate(end)
    return before - end


for name in sys.argv[1:]:
    if (removed := strip(Path(name))) > 1e6:
        print(f"{name}: {removed / 1e6:.0f} MB of symbols removed")
