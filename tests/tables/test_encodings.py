"""Files whose encoding is guessed."""

from pathlib import Path

import pytest

from kfp_bert_components.tables import Column, TableFile, TableSettings, open_table


@pytest.mark.parametrize("text", ["café x", "it’s", "Año nuevo", "£5 only", "naïve café", "à la carte", "€"])
@pytest.mark.parametrize("ascii_rows", [5, 5_000])
def test_a_few_accents_in_a_plain_file_are_windows_1252(text: str, ascii_rows: int, tmp_path: Path):
    path = tmp_path / "a.csv"
    lines = ["text,label", *(f"row {i},ham" for i in range(ascii_rows)), f"{text},spam"]
    path.write_bytes("\n".join(lines).encode("cp1252"))
    columns = [Column("text", "text", "text_column"), Column("label", "label", "label_column")]
    facts, batches = open_table(TableFile(path, path.name), columns, TableSettings())
    texts = [one for batch in batches for one in batch.cells["text"].to_pylist()]
    assert facts.encoding == "cp1252" and len(texts) == ascii_rows + 1 and texts[-1] == text
