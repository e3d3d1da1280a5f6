"""Records: written with the number of their format, read by the reader of that number, damage is named."""

import json

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.records import dump_record, load_record

READERS = {1: lambda fields: ("old", fields["name"]), 2: lambda fields: ("new", fields["names"][0])}


def load(text):
    return load_record(text, "place/record.json", READERS, "make it again")


def test_a_record_is_written_with_its_number_and_each_number_has_its_reader():
    assert json.loads(dump_record({"name": "né"}, 2)) == {"format": 2, "name": "né"}
    assert load(dump_record({"name": "né"})) == ("old", "né")
    assert load(dump_record({"names": ["a"]}, 2).encode()) == ("new", "a")


def test_what_is_no_valid_unicode_is_written_and_read_as_an_escape():
    written = dump_record({"name": "caf\udce9 é 😀"}, 1).encode()
    assert load(written) == ("old", "caf\\udce9 é 😀")
    assert load(rb'{"format": 1, "name": "caf\udce9 \ud83d\ude00"}') == ("old", "caf\\udce9 😀")  # of an older version


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_say_is_not_written(value):
    with pytest.raises(ValueError):
        dump_record({"value": value})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "place/record.json is damaged: it is no JSON object; make it again."),
        (b"\xff", "is damaged: it is no JSON object"),
        ("[1]", "is damaged: it is no JSON object"),
        ("[" * 100_000, "is damaged: it is no JSON object"),
        ("{}", "has format None, and this version reads 1 and 2: make it again."),
        ('{"format": true}', "has format True, and this version reads 1 and 2: make it again."),
        ('{"format": 0}', "has format 0, and this version reads 1 and 2: make it again."),
        ('{"format": 3}', "has format 3, and this version reads 1 and 2: update kfp-bert-components."),
        ('{"format": 1}', "place/record.json is damaged: lacks 'name'; make it again."),
        ('{"format": 2, "names": []}', "is damaged: its fields are not as expected"),
        ('{"format": 2, "names": 5}', "is damaged: its fields are not as expected"),
    ],
)
def test_what_is_wrong_with_a_record_is_said_in_a_sentence(text, message):
    with pytest.raises(UserError) as raised:
        load(text)
    assert message in str(raised.value)
