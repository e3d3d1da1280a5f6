import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.local.conditions import read_condition

X = "inputs.parameter_values['pipelinechannel--step-x']"


@pytest.mark.parametrize(
    ("text", "x", "holds"),
    [
        (f"{X} == 'a'", "a", True),
        (f"{X} == 'a'", 'it\'s "a" && b', False),
        (f"{X} != ''", "", False),
        (f"{X} == 'a && b'", "a && b", True),
        (f"{X} == true", True, True),
        (f"!({X} == true)", True, False),
        (f"int({X}) >= 3", 3.0, True),
        (f"{X} < 0.5", 0.25, True),
        (f"{X} > 1e-05", 0.0, False),
        (f"double(int({X})) == 2.0", 2, True),
        (f"{X} == -1.5", -1.5, True),
        (f"!({X} == 'a') && {X} == 'b'", "b", True),
        (f"!({X} == 'a') && !({X} == 'b')", "b", False),
    ],
)
def test_a_condition_is_decided_from_its_inputs(text, x, holds):
    condition = read_condition(text)
    assert condition.inputs == {"pipelinechannel--step-x"}
    assert condition.holds({"pipelinechannel--step-x": x}) is holds


@pytest.mark.parametrize(
    "text",
    [
        f"{X} == 'it's'",
        f"{X} == 'a\\b'",
        f"'int({X})' == '5'",
        f"{X}",
        f"{X} == 'a' || {X} == 'b'",
        f"{X} == 'a' == 'b'",
        f"!({X} == 'a'",
        f"size({X}) == 1",
    ],
)
def test_a_condition_that_the_compiler_writes_wrongly_or_never_is_refused(text):
    with pytest.raises(UserError, match="cannot be decided"):
        read_condition(text)


def test_values_that_cannot_be_compared_are_named():
    with pytest.raises(UserError, match=r"step-x < 3 cannot be decided: step-x is 'a'; "):
        read_condition(f"{X} < 3").holds({"pipelinechannel--step-x": "a"})
