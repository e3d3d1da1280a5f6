"""Every broken table gives one sentence that names what is wrong, or is read as a person would read it."""

import json
from pathlib import Path

import pytest

from tests.support.broken_tables import FOLDER, big_cases, sentence_of, write_case

SENTENCES = json.loads((FOLDER / "sentences.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SENTENCES)
def test_a_broken_table_gets_its_sentence(name: str):
    assert sentence_of(FOLDER / name, SENTENCES[name]["settings"]) == SENTENCES[name]["says"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("line_of_50_mb.csv", "1 row can't be read (the first is line_of_50_mb.csv row 11: the row is longer than"),
        ("line_of_2_mb.csv", "1 row can't be read (the first is line_of_2_mb.csv row 11: the row is longer than"),
        (
            "line_of_50_mb.jsonl",
            "1 row can't be read (the first is line_of_50_mb.jsonl row 61: the line is longer than",
        ),
        ("more_labels_than_classes.csv", "label_column 'label' has more than 10,000 different values"),
    ],
)
def test_a_large_broken_table_gets_its_sentence(name: str, says: str, tmp_path: Path):
    content, settings = big_cases()[name]
    assert says in sentence_of(write_case(content, tmp_path / name), settings)


def test_an_empty_file_can_be_left_out(tmp_path: Path):
    says = sentence_of(FOLDER / "empty_among_good_ones", {"unreadable": "drop"})
    assert says.startswith("Read 60 rows:")
