"""How numbers are written: one way, and zero without a sign."""

import pytest

from kfp_bert_components.formats import interval, number, percent, signed


@pytest.mark.parametrize(
    ("value", "plain", "change"),
    [
        (0.1234, "0.123", "+0.123"),
        (-0.1234, "−0.123", "−0.123"),
        (0.0005001, "0.001", "+0.001"),
        (-0.0004, "0.000", "0.000"),
        (0.0004, "0.000", "0.000"),
        (-0.0, "0.000", "0.000"),
        (None, "–", "–"),
        (float("nan"), "–", "–"),
    ],
)
def test_numbers(value, plain, change):
    assert (number(value), signed(value)) == (plain, change)


def test_a_pair_and_a_share_have_no_zero_with_a_sign():
    assert interval(-0.0001, 0.5) == "0.000 to 0.500"
    assert (percent(-0.0001), percent(0.1234)) == ("0.0 %", "12.3 %")
