"""The labelled lines of three films, which the scripts here and the benchmarks train and test on."""

import csv
import io
import os
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILMS = Path(os.environ.get("IMSDB_FOLDER", ROOT.parent / "shared" / "data" / "imsdb"))
CONAN, SWORDFISH, TERMINATOR = "51_conan_the_barbarian.csv", "230_Swordfish.csv", "231_Terminator.csv"


def read_film(name: str | Path) -> list[tuple[str, str]]:
    """Text and label of each row with text, of a path or a name in FILMS; a first line that is no row is left out."""
    content = (FILMS / name).read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if len(row) == 2]
    rows = [(text, label) for text, label in rows if text.strip() and label.strip().isdigit()]
    return [(text, label.strip()) for text, label in rows]


def write_rows(folder: Path, name: str, labels: list[str], rows: list[tuple[str, str]]) -> None:
    """Write rows as the split `folder/name`."""
    import pyarrow as pa

    from kfp_bert_components.data.splits import SplitWriter

    texts, targets = zip(*rows, strict=True)
    table = pa.table({"id": list(map(str, range(len(rows)))), "text": texts, "label": targets})
    writer = SplitWriter(folder / name, table.schema)
    for batch in table.to_batches():
        writer.write(batch)
    writer.finish(name, labels, fingerprint=sha256(repr(rows).encode()).hexdigest()[:32])
