"""The gate's policy: from YAML and parameters, with an error of one sentence for each fault."""

import pytest

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.gate import Policy, parse_policy, policy_schema, read_policy


def test_a_file_wins_over_the_parameters_and_leaves_the_rest(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("format: 1\nprimary_metric: mcc\nmax_class_drop: 0.02\nthresholds: {accuracy: 0.7, f1:spam: 1}\n")
    assert read_policy(path, Policy(alpha=0.01, primary_metric="accuracy")) == Policy(
        primary_metric="mcc", alpha=0.01, max_class_drop=0.02, thresholds={"accuracy": 0.7, "f1:spam": 1.0}
    )
    assert parse_policy("") == Policy()
    with pytest.raises(NotFoundError, match=r"none\.yaml does not exist"):
        read_policy(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alfa: 0.05", "policy: There is no rule 'alfa'; did you mean 'alpha'?"),
        ("color: red", "There is no rule 'color'; known are format, primary_metric"),
        ("alpha: high", "policy: alpha is 'high', but it should be a valid number."),
        ("alpha: true", "alpha is True, but it should be a valid number"),
        ("alpha: 0.5", "alpha is 0.5, but it should be less than 0.5"),
        ("alpha: 0", "alpha is 0, but it should be greater than 0"),
        ("alpha: .nan", "alpha is nan, but it should be a finite number"),
        ("margin: -0.1", "margin is -0.1, but it should be greater than or equal to 0"),
        ("max_class_drop: 3", "max_class_drop is 3, but it should be less than or equal to 1"),
        ("min_rows: 0.5", "min_rows is 0.5, but it should be a valid integer"),
        ("max_size_ratio: .inf", "max_size_ratio is inf, but it should be a finite number"),
        ("override: MAYBE", "override is 'MAYBE', but it should be '', 'PROMOTE' or 'HOLD'"),
        ("override: HOLD", "An override needs all of override, override_by"),
        ("{margin: 0.1, min_improvement: 0.1}", "give one"),
        ("format: 2", "format is 2, but it should be 1"),
        ("primary_metric: f2", "There is no metric 'f2'; primary_metric and thresholds may name accuracy"),
        ("thresholds: {f2: 0.1}", "There is no metric 'f2'"),
        ("thresholds: {accuracy: x}", "thresholds.accuracy is 'x', but it should be a valid number"),
        ("- a", "must be a mapping of names to values"),
        ("a: [", "policy is no YAML: while parsing a flow node."),
    ],
)
def test_a_fault_is_named(text, message):
    with pytest.raises(UserError) as raised:
        parse_policy(text)
    assert message in str(raised.value)


def test_parameters_are_checked_like_the_file():
    with pytest.raises(UserError, match=r"^alpha is 0\.7, but it should be less than 0\.5\.$"):
        Policy(alpha=0.7)


def test_the_schema_of_the_file_has_every_rule_with_a_description():
    schema = policy_schema()
    assert schema["additionalProperties"] is False
    assert {*Policy().as_dict(), "format"} == set(schema["properties"])
    assert all(one["description"] for one in schema["properties"].values())
    assert schema["properties"]["alpha"]["exclusiveMaximum"] == 0.5
