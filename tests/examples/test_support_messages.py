"""The messages of the tutorial, whose page runs the example: tests/docs/test_pages_that_run.py."""

from tests.support.examples import write_messages


def test_the_same_seed_gives_the_same_messages_and_wrong_labels_are_as_many_as_asked(tmp_path):
    one, two, bad = (
        write_messages(tmp_path / f"{name}.csv", 800, **more).read_text().splitlines()
        for name, more in (("one", {}), ("two", {}), ("bad", {"wrong": 0.5}))
    )
    assert one == two and one[0] == "text,category,channel,plan" and len(one) == 801
    labels = {line.split(",")[-3] for line in one[1:]}
    assert len(labels) == 8 == len({line.split(",")[-3] for line in bad[1:]})
